/* A tank that runs empty through its outlet: A dh/dt = q - k sqrt(h).  Co-simulation by Runge-Kutta steps of 1 ms at
 * most. Compiled with -DFMI=2 or -DFMI=3 against the headers of that version of FMI; see build.py. */
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
#define NAME(f) fmi2##f
#else
#include "fmi3Functions.h"
#define OK fmi3OK
#define FAILED fmi3Error
#define STATUS fmi3Status
#define INSTANCE fmi3Instance
#define REFERENCE fmi3ValueReference
#define REAL fmi3Float64
#define NAME(f) fmi3##f
#endif

enum { TIME, AREA, K, H0, Q, H, COUNT, PIPES = COUNT, OPEN, LIQUID };
static const double initial[COUNT] = {0.0, 2.0, 0.5, 4.0, 0.0, 0.0};

typedef struct {
    double v[COUNT];
    int pipes, open;
#if FMI == 2
    fmi2CallbackFunctions call;
#else
    fmi3InstanceEnvironment environment;
    fmi3LogMessageCallback log;
#endif
} Tank;

static void start(Tank *tank) {
    memcpy(tank->v, initial, sizeof initial);
    tank->pipes = tank->open = 1;
}

static void say(Tank *tank, const char *text) {
#if FMI == 2
    tank->call.logger(tank->call.componentEnvironment, "tank", fmi2Error, "logStatusError", text);
#else
    tank->log(tank->environment, fmi3Error, "logStatusError", text);
#endif
}

static STATUS begun(INSTANCE c) {
    Tank *tank = c;
    if (tank->v[AREA] <= 0) {
        say(tank, "the tank has no area");
        return FAILED;
    }
    tank->v[H] = tank->v[H0];
    return OK;
}

static double rate(const Tank *tank, double h) {
    return (tank->v[Q] - tank->open * tank->pipes * tank->v[K] * sqrt(h > 0 ? h : 0)) / tank->v[AREA];
}

static STATUS advance(INSTANCE c, double time, double step) {
    Tank *tank = c;
    int n = (int)ceil(step / 1e-3 - 1e-9);
    double d = step / n, h = tank->v[H];
    for (int k = 0; k < n; k++) {
        double a = rate(tank, h), b = rate(tank, h + d / 2 * a), e = rate(tank, h + d / 2 * b), f = rate(tank, h + d * e);
        h += d / 6 * (a + 2 * b + 2 * e + f);
    }
    tank->v[H] = h;
    tank->v[TIME] = time + step;
    return OK;
}

static STATUS get(INSTANCE c, const REFERENCE r[], size_t n, REAL v[]) {
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

static STATUS set_whole(INSTANCE c, REFERENCE r, int v) {
    if (r != PIPES && r != OPEN) return FAILED;
    *(r == PIPES ? &((Tank *)c)->pipes : &((Tank *)c)->open) = v;
    return OK;
}

STATUS NAME(ExitInitializationMode)(INSTANCE c) { return begun(c); }
STATUS NAME(Terminate)(INSTANCE c) { return OK; }
void NAME(FreeInstance)(INSTANCE c) { free(c); }

STATUS NAME(Reset)(INSTANCE c) {
#ifdef STUCK
    return FAILED; /* a reset that is none, for a test */
#endif
#ifndef LEAKY
    start(c);
#else
    ((Tank *)c)->v[Q] += 1e-3; /* a reset that is not clean, for a test */
#endif
    return OK;
}

#if FMI == 2
fmi2Component fmi2Instantiate(fmi2String name, fmi2Type type, fmi2String guid, fmi2String resources,
                              const fmi2CallbackFunctions *call, fmi2Boolean visible, fmi2Boolean logging) {
    Tank *tank = calloc(1, sizeof(Tank));
    tank->call = *call;
    start(tank);
    return tank;
}
fmi2Status fmi2SetDebugLogging(fmi2Component c, fmi2Boolean on, size_t n, const fmi2String names[]) { return fmi2OK; }
fmi2Status fmi2SetupExperiment(fmi2Component c, fmi2Boolean t, fmi2Real tol, fmi2Real b, fmi2Boolean e, fmi2Real end) {
    return fmi2OK;
}
fmi2Status fmi2EnterInitializationMode(fmi2Component c) { return fmi2OK; }
fmi2Status fmi2GetReal(fmi2Component c, const fmi2ValueReference r[], size_t n, fmi2Real v[]) { return get(c, r, n, v); }
fmi2Status fmi2SetReal(fmi2Component c, const fmi2ValueReference r[], size_t n, const fmi2Real v[]) {
    return set(c, r, n, v);
}
fmi2Status fmi2SetInteger(fmi2Component c, const fmi2ValueReference r[], size_t n, const fmi2Integer v[]) {
    return set_whole(c, r[0], v[0]);
}
fmi2Status fmi2SetBoolean(fmi2Component c, const fmi2ValueReference r[], size_t n, const fmi2Boolean v[]) {
    return set_whole(c, r[0], v[0]);
}
fmi2Status fmi2SetString(fmi2Component c, const fmi2ValueReference r[], size_t n, const fmi2String v[]) {
    return r[0] == LIQUID && !strcmp(v[0], "water") ? fmi2OK : fmi2Error;
}
fmi2Status fmi2DoStep(fmi2Component c, fmi2Real time, fmi2Real step, fmi2Boolean kept) { return advance(c, time, step); }
#else
fmi3Instance fmi3InstantiateCoSimulation(fmi3String name, fmi3String token, fmi3String resources, fmi3Boolean visible,
                                         fmi3Boolean logging, fmi3Boolean events, fmi3Boolean early,
                                         const fmi3ValueReference needed[], size_t n, fmi3InstanceEnvironment environment,
                                         fmi3LogMessageCallback log, fmi3IntermediateUpdateCallback update) {
    Tank *tank = calloc(1, sizeof(Tank));
    tank->environment = environment;
    tank->log = log;
    start(tank);
    return tank;
}
fmi3Status fmi3SetDebugLogging(fmi3Instance c, fmi3Boolean on, size_t n, const fmi3String names[]) { return fmi3OK; }
fmi3Status fmi3EnterInitializationMode(fmi3Instance c, fmi3Boolean t, fmi3Float64 tol, fmi3Float64 b, fmi3Boolean e,
                                       fmi3Float64 end) {
    return fmi3OK;
}
fmi3Status fmi3GetFloat64(fmi3Instance c, const fmi3ValueReference r[], size_t n, fmi3Float64 v[], size_t m) {
    return get(c, r, n, v);
}
fmi3Status fmi3SetFloat64(fmi3Instance c, const fmi3ValueReference r[], size_t n, const fmi3Float64 v[], size_t m) {
    return set(c, r, n, v);
}
fmi3Status fmi3SetInt32(fmi3Instance c, const fmi3ValueReference r[], size_t n, const fmi3Int32 v[], size_t m) {
    return set_whole(c, r[0], v[0]);
}
fmi3Status fmi3SetBoolean(fmi3Instance c, const fmi3ValueReference r[], size_t n, const fmi3Boolean v[], size_t m) {
    return set_whole(c, r[0], v[0]);
}
fmi3Status fmi3SetString(fmi3Instance c, const fmi3ValueReference r[], size_t n, const fmi3String v[], size_t m) {
    return r[0] == LIQUID && !strcmp(v[0], "water") ? fmi3OK : fmi3Error;
}
fmi3Status fmi3DoStep(fmi3Instance c, fmi3Float64 time, fmi3Float64 step, fmi3Boolean kept, fmi3Boolean *event,
                      fmi3Boolean *end, fmi3Boolean *early, fmi3Float64 *last) {
    *event = *end = *early = fmi3False;
    *last = time + step;
    return advance(c, time, step);
}
#endif
