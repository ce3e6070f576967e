/* The tank of configs/tank_fmu for model exchange: A dh/dt = f q - k sqrt(h).  The outlet closes for good when the level
 * has sunk to `shut` (an event of the state); the inflow's factor f becomes 2 at the time `tick` (an event in time).
 * With -DBOTH it is there for co-simulation too, where doStep ends with an error. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#if FMI == 2
#include "fmi2Functions.h"
#define OK fmi2OK
#define FAILED fmi2Error
#define STATUS fmi2Status
#define INSTANCE fmi2Component
#define REFERENCE fmi2ValueReference
#define REAL fmi2Real
#define BOOLEAN fmi2Boolean
#define NAME(f) fmi2##f
#else
#include "fmi3Functions.h"
#define OK fmi3OK
#define FAILED fmi3Error
#define STATUS fmi3Status
#define INSTANCE fmi3Instance
#define REFERENCE fmi3ValueReference
#define REAL fmi3Float64
#define BOOLEAN fmi3Boolean
#define NAME(f) fmi3##f
#endif

enum { TIME, AREA, K, H0, Q, H, RATE, SHUT, TICK, STRANGE, FLOW, FACTOR, CLOSED, INDICATOR, COUNT };
static const double initial[COUNT] = {0.0, 2.0, 0.5, 4.0, 0.0, 0.0, 0.0, -1.0, -1.0, -1.0, 0.0, 1.0, 0.0, 0.0};

typedef struct {
    double v[COUNT];
#if FMI == 2
    fmi2CallbackFunctions call;
#else
    fmi3InstanceEnvironment environment;
    fmi3LogMessageCallback log;
#endif
} Tank;

static void say(Tank *tank, const char *text) {
#if FMI == 2
    tank->call.logger(tank->call.componentEnvironment, "tank", fmi2Error, "logStatusError", text);
#else
    tank->log(tank->environment, fmi3Error, "logStatusError", text);
#endif
}

static STATUS update(Tank *tank) {
    double *v = tank->v, h = v[H] > 0 ? v[H] : 0;
    v[FLOW] = v[FACTOR] * v[Q];
    v[RATE] = (v[FLOW] - (v[CLOSED] ? 0 : v[K] * sqrt(h))) / v[AREA];
    v[INDICATOR] = v[CLOSED] ? 1.0 : v[H] - v[SHUT];
    if (v[STRANGE] >= 0 && v[TIME] > v[STRANGE]) {
        say(tank, "the tank leaks");
        return FAILED;
    }
    return OK;
}

STATUS NAME(ExitInitializationMode)(INSTANCE c) {
    Tank *tank = c;
    if (tank->v[AREA] <= 0) {
        say(tank, "the tank has no area");
        return FAILED;
    }
    tank->v[H] = tank->v[H0];
    return OK;
}
STATUS NAME(Terminate)(INSTANCE c) { return OK; }
void NAME(FreeInstance)(INSTANCE c) { free(c); }
STATUS NAME(Reset)(INSTANCE c) {
#ifdef LEAKY
    ((Tank *)c)->v[CLOSED] = 0.0;
    ((Tank *)c)->v[Q] += 1e-3; /* a reset that is not clean */
#else
    memcpy(((Tank *)c)->v, initial, sizeof initial);
#endif
    return OK;
}
STATUS NAME(EnterEventMode)(INSTANCE c) { return OK; }
STATUS NAME(EnterContinuousTimeMode)(INSTANCE c) { return OK; }
STATUS NAME(SetTime)(INSTANCE c, REAL time) {
    ((Tank *)c)->v[TIME] = time;
    return OK;
}
STATUS NAME(SetContinuousStates)(INSTANCE c, const REAL x[], size_t n) {
    ((Tank *)c)->v[H] = x[0];
    return OK;
}
STATUS NAME(GetContinuousStates)(INSTANCE c, REAL x[], size_t n) {
    x[0] = ((Tank *)c)->v[H];
    return OK;
}
STATUS NAME(GetNominalsOfContinuousStates)(INSTANCE c, REAL x[], size_t n) {
    x[0] = 1.0;
    return OK;
}
STATUS NAME(GetEventIndicators)(INSTANCE c, REAL z[], size_t n) {
    STATUS found = update(c);
    z[0] = ((Tank *)c)->v[INDICATOR];
    return found;
}
static STATUS rates(INSTANCE c, REAL dx[]) {
    STATUS found = update(c);
    dx[0] = ((Tank *)c)->v[RATE];
#ifdef STRANGE_NUMBERS
    dx[0] = NAN;
#endif
    return found;
}
static STATUS get(INSTANCE c, const REFERENCE r[], size_t n, REAL v[]) {
    update(c);
    for (size_t k = 0; k < n; k++) {
        if (r[k] >= COUNT) return FAILED;
        v[k] = ((Tank *)c)->v[r[k]];
    }
    return OK;
}
static STATUS set(INSTANCE c, const REFERENCE r[], size_t n, const REAL v[]) {
    for (size_t k = 0; k < n; k++) {
        if (r[k] >= COUNT) return FAILED;
        ((Tank *)c)->v[r[k]] = v[k];
    }
    return OK;
}
static int due(INSTANCE c) { /* events of now; whether one in time is still to come */
    double *v = ((Tank *)c)->v;
    if (v[H] <= v[SHUT] + 1e-9) v[CLOSED] = 1.0;
    if (v[TICK] >= 0 && v[TIME] >= v[TICK] - 1e-12) v[FACTOR] = 2.0;
    return v[TICK] >= 0 && v[FACTOR] == 1.0;
}

#if FMI == 2
fmi2Component fmi2Instantiate(fmi2String name, fmi2Type type, fmi2String guid, fmi2String resources,
                              const fmi2CallbackFunctions *call, fmi2Boolean visible, fmi2Boolean logging) {
    Tank *tank = calloc(1, sizeof(Tank));
    tank->call = *call;
    memcpy(tank->v, initial, sizeof initial);
    return tank;
}
fmi2Status fmi2SetDebugLogging(fmi2Component c, fmi2Boolean on, size_t n, const fmi2String names[]) { return fmi2OK; }
fmi2Status fmi2SetupExperiment(fmi2Component c, fmi2Boolean t, fmi2Real tol, fmi2Real b, fmi2Boolean e, fmi2Real end) {
    return NAME(SetTime)(c, b);
}
fmi2Status fmi2EnterInitializationMode(fmi2Component c) { return fmi2OK; }
fmi2Status fmi2GetReal(fmi2Component c, const fmi2ValueReference r[], size_t n, fmi2Real v[]) { return get(c, r, n, v); }
fmi2Status fmi2SetReal(fmi2Component c, const fmi2ValueReference r[], size_t n, const fmi2Real v[]) {
    return set(c, r, n, v);
}
fmi2Status fmi2GetDerivatives(fmi2Component c, fmi2Real dx[], size_t n) { return rates(c, dx); }
fmi2Status fmi2NewDiscreteStates(fmi2Component c, fmi2EventInfo *info) {
    info->newDiscreteStatesNeeded = info->terminateSimulation = fmi2False;
    info->nominalsOfContinuousStatesChanged = info->valuesOfContinuousStatesChanged = fmi2False;
    info->nextEventTimeDefined = due(c);
    info->nextEventTime = ((Tank *)c)->v[TICK];
    return fmi2OK;
}
fmi2Status fmi2CompletedIntegratorStep(fmi2Component c, fmi2Boolean kept, fmi2Boolean *event, fmi2Boolean *over) {
    *event = *over = fmi2False;
    return fmi2OK;
}
fmi2Status fmi2DoStep(fmi2Component c, fmi2Real time, fmi2Real step, fmi2Boolean kept) {
    say(c, "this is by co-simulation");
    return fmi2Error;
}
#else
static fmi3Instance made(fmi3InstanceEnvironment environment, fmi3LogMessageCallback log) {
    Tank *tank = calloc(1, sizeof(Tank));
    tank->environment = environment;
    tank->log = log;
    memcpy(tank->v, initial, sizeof initial);
    return tank;
}
fmi3Instance fmi3InstantiateModelExchange(fmi3String name, fmi3String token, fmi3String resources, fmi3Boolean visible,
                                          fmi3Boolean logging, fmi3InstanceEnvironment environment,
                                          fmi3LogMessageCallback log) {
    return made(environment, log);
}
fmi3Instance fmi3InstantiateCoSimulation(fmi3String name, fmi3String token, fmi3String resources, fmi3Boolean visible,
                                         fmi3Boolean logging, fmi3Boolean events, fmi3Boolean early,
                                         const fmi3ValueReference needed[], size_t n, fmi3InstanceEnvironment environment,
                                         fmi3LogMessageCallback log, fmi3IntermediateUpdateCallback update_) {
    return made(environment, log);
}
fmi3Status fmi3SetDebugLogging(fmi3Instance c, fmi3Boolean on, size_t n, const fmi3String names[]) { return fmi3OK; }
fmi3Status fmi3EnterInitializationMode(fmi3Instance c, fmi3Boolean t, fmi3Float64 tol, fmi3Float64 b, fmi3Boolean e,
                                       fmi3Float64 end) {
    return NAME(SetTime)(c, b);
}
fmi3Status fmi3GetFloat64(fmi3Instance c, const fmi3ValueReference r[], size_t n, fmi3Float64 v[], size_t m) {
    return get(c, r, n, v);
}
fmi3Status fmi3SetFloat64(fmi3Instance c, const fmi3ValueReference r[], size_t n, const fmi3Float64 v[], size_t m) {
    return set(c, r, n, v);
}
fmi3Status fmi3GetContinuousStateDerivatives(fmi3Instance c, fmi3Float64 dx[], size_t n) { return rates(c, dx); }
fmi3Status fmi3UpdateDiscreteStates(fmi3Instance c, fmi3Boolean *more, fmi3Boolean *over, fmi3Boolean *nominals,
                                    fmi3Boolean *values, fmi3Boolean *defined, fmi3Float64 *when) {
    *more = *over = *nominals = *values = fmi3False;
    *defined = due(c);
    *when = ((Tank *)c)->v[TICK];
    return fmi3OK;
}
fmi3Status fmi3CompletedIntegratorStep(fmi3Instance c, fmi3Boolean kept, fmi3Boolean *event, fmi3Boolean *over) {
    *event = *over = fmi3False;
    return fmi3OK;
}
fmi3Status fmi3DoStep(fmi3Instance c, fmi3Float64 time, fmi3Float64 step, fmi3Boolean kept, fmi3Boolean *event,
                      fmi3Boolean *end, fmi3Boolean *early, fmi3Float64 *last) {
    say(c, "this is by co-simulation");
    return fmi3Error;
}
#endif
