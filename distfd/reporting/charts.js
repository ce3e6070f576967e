// The charts of a run, drawn by Apache ECharts from the numbers of chart_data.py, in report.html and on the local page:
// with values under the pointer or the arrow keys, zoom by the strip below, by Ctrl and the wheel, or by buttons. On the
// local page a click on an attempt fetches its details, and a window of a long timeline is fetched when it is zoomed to.
"use strict";

const drawn = new Map();
const inline = document.getElementById("chart-data");
let running = false, again = false;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
const short = (value, digits = 6) => (value === null || value === undefined ? "\u2013" : String(+value.toPrecision(digits)));
const bars = (error) => (error === null || error === undefined ? "" : ` \u00b1 ${short(error, 2)}`);

// A number at an axis: in powers of ten where it is long.
function tick(value) {
  const size = Math.abs(value);
  return size !== 0 && (size >= 1e5 || size < 1e-3) ? (+value.toPrecision(3)).toExponential().replace("+", "") : short(value, 5);
}

// Names that fit beside a chart: of long ones without how all of them begin.
function fitted(names) {
  const most = document.body.clientWidth < 600 ? 16 : 34;
  let same = names.length > 1 ? names[0].length : 0;
  for (const name of names) while (!name.startsWith(names[0].slice(0, same))) same -= 1;
  const cut = (text) => (text.length <= most ? text : `${text.slice(0, most - 6)}\u2026${text.slice(-5)}`);
  return (name) => cut(name.length > most && same > 2 ? `\u2026${name.slice(same)}` : name);
}

function base() {
  return {
    animation: false,
    textStyle: { fontFamily: getComputedStyle(document.body).fontFamily, color: colour("ink") },
    tooltip: {
      // Drawn in the canvas: what is told is text, and needs no style that the page's policy would refuse.
      renderMode: "richText", confine: true, backgroundColor: colour("panel"), borderColor: colour("rule"),
      textStyle: { color: colour("ink"), fontSize: 13 },
    },
    grid: { left: 24, right: 24, top: 34, bottom: 74, containLabel: true },
  };
}

// Pixels that the longest of the names takes beside a chart, measured as they are drawn.
function roomFor(names) {
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = `12px ${getComputedStyle(document.body).fontFamily}`;
  return 24 + Math.ceil(names.reduce((most, name) => Math.max(most, pen.measureText(name).width), 0));
}

// A chart whose plot begins so far from the left, as that of its neighbour does.
function beside(left) {
  return { left, right: 40, top: 34, bottom: 94, containLabel: false };
}

// A logarithmic axis counts powers of ten: ECharts' own has a mark every ten decades where there are more than nine.
const power = (value) => (value > 0 ? Math.log10(value) : null);
const powerTick = (value) => tick(+(10 ** value).toPrecision(3));
const decades = { type: "value", splitNumber: 8 };

// Marks of a level logarithmic axis from low to high, in powers of ten: at 1, 2 and 5 where the powers alone are few.
function levelDecades(low, high) {
  const from = Math.floor(low), powers = Array.from({ length: Math.max(1, Math.ceil(high) - from + 1) }, (_, k) => from + k);
  const customValues = powers.flatMap((at) => [at, at + Math.log10(2), at + Math.log10(5)]).filter((at) => at >= low && at <= high);
  const few = high - low < 3.5 && customValues.length > 1;
  return { ...decades, powers: true, ...(few ? { axisTick: { customValues }, labels: { customValues, alignMinLabel: null, alignMaxLabel: null } } : {}) };
}

// Ends of an upright logarithmic axis: powers of ten, with a whole number of marks between them.
function wholeDecades(least, most) {
  const max = Math.ceil(most), span = Math.max(1, max - Math.floor(least)), interval = Math.ceil(span / 8);
  return { max, interval, min: max - interval * Math.ceil(span / interval) };
}

function axis(name, more) {
  return {
    name, nameTextStyle: { color: colour("soft"), align: "left" },
    axisLabel: { color: colour("soft"), hideOverlap: true, ...(more.type === "category" ? {} : { formatter: more.powers ? powerTick : tick }) },
    axisLine: { lineStyle: { color: colour("rule") } }, splitLine: { lineStyle: { color: colour("rule") } }, ...more,
  };
}

function below(name, more) {
  // The range ends at any number, which has no room beside the last round one.
  // On a logarithmic axis, which may have no round number at all, it is told in few digits and within the chart.
  const log = more.powers;
  const ends = { showMaxLabel: more.minInterval === 1 || log ? null : false, ...(log ? { alignMinLabel: "left", alignMaxLabel: "right" } : {}) };
  const axisLabel = { color: colour("soft"), hideOverlap: true, formatter: log ? powerTick : tick, ...ends, ...more.labels };
  return axis(name, { type: "value", nameLocation: "middle", nameGap: 26, nameTextStyle: { color: colour("soft") }, axisLabel, ...more });
}

function zoom(which, more) {
  return [
    { type: "inside", ...which, zoomOnMouseWheel: "ctrl", moveOnMouseWheel: false, ...more },
    {
      type: "slider", ...which, height: 20, bottom: 8, borderColor: colour("rule"), fillerColor: colour("plain-paper"),
      textStyle: { color: colour("soft") }, ...more,
    },
  ];
}

function extent(values) {
  const known = values.filter((value) => value !== null);
  return [known.reduce((a, b) => Math.min(a, b), Infinity), known.reduce((a, b) => Math.max(a, b), -Infinity)];
}

function rangesFar(values) {
  const [least, most] = extent(values);
  return least > 0 && most > 30 * least;
}

// One curve or several. Each has a name, x, y, a colour, and may be dashed, a step or an area. What is counted has
// whole numbers at the upright axis, and "left" is the room for its labels, by default as much as they need.
function lineOption(curves, { x, y, xLog = false, yLog, whole = false, counted = false, legend = false, limit = null, left }) {
  const all = curves.flatMap((curve) => curve.y);
  const log = yLog === undefined ? rangesFar(all) : yLog;
  const [least, most] = log ? extent(all.map(power)) : [0, 0];
  const option = base();
  const of = (point, column) => curves[point.seriesIndex][column][point.dataIndex];
  option.tooltip = {
    ...option.tooltip, trigger: "axis",
    formatter: (points) => [`${x} ${short(of(points[0], "x"))}`]
      .concat(points.map((point) => `${point.seriesName}${curves.length > 1 ? ":" : " ="} ${short(of(point, "y"), 8)}`)).join("\n"),
  };
  const shown = curves.map((curve) => ({
    type: "line", name: curve.name, data: curve.x.map((at, k) => [xLog ? power(at) : at, log ? power(curve.y[k]) : curve.y[k]]), step: curve.step ? "end" : false,
    symbolSize: 6, showSymbol: curve.points || (!curve.bare && !curve.dashed && !curve.step && curve.x.length <= 150), showAllSymbol: Boolean(curve.points),
    lineStyle: { color: colour(curve.colour), width: curve.points ? 0 : curve.dashed ? 1.2 : 2, type: curve.dashed ? "dashed" : "solid" },
    itemStyle: { color: colour(curve.colour) }, areaStyle: curve.step ? { color: colour(curve.colour), opacity: 0.35 } : undefined,
  }));
  if (limit !== null) {
    shown[0].markLine = {
      silent: true, symbol: "none", label: { show: false }, data: [{ yAxis: log ? power(limit) : limit }], lineStyle: { color: colour("soft"), type: "dotted" },
    };
  }
  return {
    ...option,
    grid: { ...(left === undefined ? option.grid : beside(left)), top: legend ? 60 : 34 },
    ...(legend ? { legend: { top: 0, right: 0, type: "scroll", textStyle: { color: colour("ink") } } } : {}),
    xAxis: below(xLog ? `${x}, logarithmic` : x, { ...(xLog ? levelDecades(...extent(curves.flatMap((curve) => curve.x.map(power)))) : {}), min: "dataMin", max: "dataMax", minInterval: whole ? 1 : 0 }),
    yAxis: axis(log ? `${y}, logarithmic` : y, {
      type: "value", scale: !curves[0].step, minInterval: counted ? 1 : 0,
      ...(log ? { ...decades, powers: true } : {}), ...(log && Number.isFinite(least) ? wholeDecades(least, most) : {}),
    }),
    dataZoom: zoom({ xAxisIndex: 0 }),
    series: shown,
    words: (k) => `${x} ${short(curves[0].x[k])}: `
      + curves.map((curve) => `${curve.name}${curves.length > 1 ? "" : " ="} ${short(curve.y[k], 8)}`).join(", "),
  };
}

const palette = ["up", "down", "straggler", "handing", "retry", "failed", "tail", "between", "useful", "duplicate"];

// J of several runs in one chart; the longest first, by whose iterations the arrow keys go.
function overlayOption(runs) {
  const curves = runs.map((run, k) => ({ name: run.name, x: run.convergence.iteration, y: run.convergence.value, colour: palette[k % palette.length] }));
  const longest = curves.reduce((a, b) => (b.y.length > a.y.length ? b : a));
  curves.sort((a, b) => (b === longest) - (a === longest));
  const named = [...new Set(runs.map((run) => run.convergence.name))].join(" or ");
  const option = lineOption(curves, { x: "iteration", y: named, whole: true, legend: true });
  const words = runs.map((run) => curves.find((curve) => curve.name === run.name));
  // By iteration, and not by place: a run may begin later than another, or lack some.
  const at = (curve, iteration) => curve.y[curve.x.indexOf(iteration)] ?? null;
  option.words = (k) => `iteration ${longest.x[k]}: ` + words.map((curve) => `${curve.name} ${short(at(curve, longest.x[k]), 6)}`).join(", ");
  return [option, longest.y.length];
}

function gradientOption(found) {
  const option = base();
  const whiskers = found.error.some((error) => error !== null);
  const words = (k) => `${found.names[k]}: ${found.derivative[k] === null ? "missing" : short(found.derivative[k], 8)}${bars(found.error[k])}`;
  option.tooltip = {
    ...option.tooltip, trigger: "axis", axisPointer: { type: "shadow" }, formatter: (points) => words(points[0].dataIndex).replace(": ", "\n"),
  };
  const whisker = (params, api) => {
    const k = api.value(0), value = found.derivative[k], error = found.error[k];
    if (value === null || error === null) return null;
    const a = api.coord([value - error, k]), b = api.coord([value + error, k]);
    const style = { stroke: colour("ink"), lineWidth: 1.3, fill: null };
    const stroke = (x1, y1, x2, y2) => ({ type: "line", shape: { x1, y1, x2, y2 }, style });
    return {
      type: "group",
      children: [stroke(a[0], a[1], b[0], b[1]), stroke(a[0], a[1] - 4, a[0], a[1] + 4), stroke(b[0], b[1] - 4, b[0], b[1] + 4)],
    };
  };
  // The axis reaches from end to end of the error bars.
  const ends = found.names.map((_, k) => {
    const value = found.derivative[k], error = found.error[k];
    return value === null || error === null ? [k, "-", "-"] : [k, value - error, value + error];
  });
  return {
    ...option,
    grid: { ...beside(roomFor(found.names.map(fitted(found.names)))), bottom: 52 },
    xAxis: below("dJ/dx", { nameGap: 28, minInterval: 0, axisLabel: { color: colour("soft"), hideOverlap: true, formatter: tick } }),
    yAxis: axis("", {
      type: "category", data: found.names, inverse: true, splitLine: { show: false },
      axisLabel: { color: colour("ink"), interval: 0, formatter: fitted(found.names) },
    }),
    dataZoom: [{ type: "inside", yAxisIndex: 0, zoomOnMouseWheel: "ctrl", moveOnMouseWheel: false, moveOnMouseMove: true }],
    series: [
      {
        type: "bar", barMaxWidth: 16,
        data: found.derivative.map((value) => ({ value, itemStyle: { color: colour(value !== null && value < 0 ? "down" : "up") } })),
      },
      ...(whiskers ? [{ type: "custom", renderItem: whisker, data: ends, encode: { x: [1, 2], y: 0 }, silent: true, z: 5 }] : []),
    ],
    words,
  };
}

// Upright boxes between edges, from low to high.
function boxOption(edges, low, high, { x, y, xLog = false, counted = false, words }) {
  const option = base(), fill = colour("up"), along = xLog ? power : (value) => value;
  const box = (params, api) => {
    const a = api.coord([api.value(0), api.value(2)]), b = api.coord([api.value(1), api.value(3)]);
    const shape = echarts.graphic.clipRectByRect(
      { x: a[0], y: b[1], width: Math.max(1, b[0] - a[0] - (b[0] - a[0] > 4 ? 1 : 0)), height: Math.max(0.5, a[1] - b[1]) }, params.coordSys,
    );
    return shape && { type: "rect", shape, style: { fill } };
  };
  option.tooltip = { ...option.tooltip, formatter: (point) => words(point.dataIndex) };
  return {
    ...option,
    xAxis: below(xLog ? `${x}, logarithmic` : x, { ...(xLog ? levelDecades(along(edges[0]), along(edges[edges.length - 1])) : {}), min: along(edges[0]), max: along(edges[edges.length - 1]) }),
    yAxis: axis(y, { type: "value", minInterval: counted ? 1 : 0 }),
    dataZoom: zoom({ xAxisIndex: 0 }, { filterMode: "weakFilter" }),
    series: [{
      type: "custom", renderItem: box, encode: { x: [0, 1], y: [2, 3] },
      data: high.map((top, k) => [along(edges[k]), along(edges[k + 1]), low[k], top]),
    }],
    words,
  };
}

function matrixOption(found) {
  const option = base(), top = found.cells.flat().reduce((a, b) => Math.max(a, b ?? 0), 0), columns = found.columns.length;
  const data = found.cells.flatMap((row, i) => row.map((value, j) => (
    value === null ? { value: [j, i, "-"], visualMap: false, itemStyle: { color: colour("bad-paper") } }
      : [j, i, value > 0 ? Math.max(-5, Math.log10(value / top)) : -5]
  )));
  const words = (k) => {
    const i = Math.floor(k / columns), j = k % columns, value = found.cells[i][j];
    return `${found.rows[i]}, ${found.columns[j]}: ${value === null ? "missing" : short(value, 6)}`;
  };
  option.tooltip = { ...option.tooltip, formatter: (point) => words(point.dataIndex) };
  const label = (names) => ({ color: colour("ink"), hideOverlap: true, formatter: fitted(names) });
  return {
    ...option,
    grid: { ...beside(roomFor(found.rows.map(fitted(found.rows)))), top: 12, bottom: 78 },
    xAxis: axis("", { type: "category", data: found.columns, splitLine: { show: false }, axisLabel: label(found.columns) }),
    yAxis: axis("", { type: "category", data: found.rows, inverse: true, splitLine: { show: false }, axisLabel: label(found.rows) }),
    visualMap: {
      min: -5, max: 0, dimension: 2, calculable: true, orient: "horizontal", left: "center", bottom: 0, itemHeight: 160, precision: 1,
      inRange: { color: [1, 2, 3, 4, 5].map((k) => colour("shade" + k)) }, textStyle: { color: colour("soft") },
      formatter: (decades) => short(top * 10 ** decades, 2),
    },
    dataZoom: [0, 1].map((k) => ({ type: "inside", [k ? "yAxisIndex" : "xAxisIndex"]: 0, zoomOnMouseWheel: "ctrl", moveOnMouseWheel: false })),
    series: [{ type: "heatmap", data }],
    words,
  };
}

// From -1 to 1: one colour for each sign, and the page's own for 0.
function correlationOption(found) {
  const option = base(), n = found.names.length;
  const words = (k) => `${found.names[Math.floor(k / n)]}, ${found.names[k % n]}: ${short(found.cells[Math.floor(k / n)][k % n], 3)}`;
  option.tooltip = { ...option.tooltip, formatter: (point) => words(point.dataIndex) };
  const label = { color: colour("ink"), hideOverlap: true, formatter: fitted(found.names) };
  return {
    ...option,
    grid: { ...beside(roomFor(found.names.map(fitted(found.names)))), top: 12, bottom: 78 },
    xAxis: axis("", { type: "category", data: found.names, splitLine: { show: false }, axisLabel: label }),
    yAxis: axis("", { type: "category", data: found.names, inverse: true, splitLine: { show: false }, axisLabel: label }),
    visualMap: {
      min: -1, max: 1, dimension: 2, calculable: true, orient: "horizontal", left: "center", bottom: 0, itemHeight: 160, precision: 1,
      inRange: { color: ["down", "panel", "up"].map(colour) }, textStyle: { color: colour("soft") },
    },
    series: [{ type: "heatmap", data: found.cells.flatMap((row, i) => row.map((value, j) => [j, i, value === null ? "-" : value])) }],
    words,
  };
}

function spentOption(parts) {
  const option = base(), total = parts.reduce((sum, part) => sum + part.seconds, 0);
  const share = (part) => {  // in as many digits as in the table
    const percent = total > 0 ? (100 * part.seconds) / total : 0;
    return `${percent.toFixed(percent < 9.95 ? 1 : 0)} %`;
  };
  const words = (k) => `${parts[k].title}: ${share(parts[k])}, ${short(parts[k].seconds, 4)} s of slots`;
  option.tooltip = { ...option.tooltip, formatter: (point) => words(point.seriesIndex) };
  return {
    ...option,
    grid: { left: 0, right: 0, top: 4, bottom: 4 },
    xAxis: { type: "value", show: false, max: total }, yAxis: { type: "category", show: false, data: [""] },
    series: parts.map((part) => ({
      type: "bar", stack: "all", barWidth: 34, data: [part.seconds], itemStyle: { color: colour(part.kind) },
      label: { show: part.seconds * document.body.clientWidth > 56 * total, formatter: share(part), color: "#101418", fontWeight: 600, fontSize: 13 },
    })),
    words,
  };
}

// Pixels for the names of slots, which the chart above leaves too, so that the same time is at the same place.
function laneRoom(found) {
  return roomFor([`slot ${found.slots.reduce((a, b) => Math.max(a, b), 0)}`]);
}

function timelineWords(found, k) {
  if (found.row[k] < 0) return `${slotName(found, k)}, from ${short(found.begin[k])} to ${short(found.end[k])} s: ${found.words[found.kind[k]]}.`;
  const named = found.point ? `\n${found.names[found.point[k]]}, attempt ${found.attempt[k]}, ${found.hosts[found.host[k]]}` : "";
  return `${slotName(found, k)}: ${found.words[found.kind[k]]}\n`
    + `from ${short(found.begin[k])} s, for ${short(found.end[k] - found.begin[k], 4)} s${named}`;
}

function slotName(found, k) {
  const first = found.slots[found.slot[k]];
  if (found.row[k] >= 0 || found.each === 1) return `slot ${first}`;
  return `slots ${first} to ${found.slots[Math.min(found.slot[k] + found.each, found.slots.length) - 1]}`;
}

function timelineOption(found) {
  const option = base(), colours = found.kinds.map(colour);
  option.tooltip = { ...option.tooltip, formatter: (point) => timelineWords(found, point.dataIndex) };
  const bar = (params, api) => {
    const lane = api.value(0), from = api.coord([api.value(1), lane]), to = api.coord([api.value(2), lane]);
    const one = api.size([0, 1])[1], tall = api.value(4) < 0 ? Math.min(found.each, found.slots.length - lane) : 1;
    const height = Math.max(1, tall * one - (tall * one > 6 ? 0.28 * one : 0));
    const x = from[0], y = from[1] - one / 2 + (tall * one - height) / 2, width = to[0] - from[0];
    // A little room, so that neighbours can be told apart.
    const shape = echarts.graphic.clipRectByRect({ x, y, width: Math.max(0.6, width - (width > 3 ? 0.9 : 0)), height }, params.coordSys);
    if (!shape) return null;
    const rect = { type: "rect", shape, style: { fill: colours[api.value(3)] } };
    if (found.kinds[api.value(3)] !== "failed") return rect;
    // A cross as well, so that colour is not all that tells.
    const mx = shape.x + shape.width / 2, my = shape.y + shape.height / 2;
    const stroke = (x1, y1, x2, y2) => ({ type: "line", shape: { x1, y1, x2, y2 }, style: { stroke: colour("ink"), lineWidth: 1.3 } });
    return { type: "group", children: [rect, stroke(mx - 3, my - 3, mx + 3, my + 3), stroke(mx - 3, my + 3, mx + 3, my - 3)] };
  };
  const side = found.slots.length > 12;
  return {
    ...option,
    grid: { ...beside(laneRoom(found)), top: 20 },
    xAxis: below("seconds since the slots began", { min: 0, max: found.seconds }),
    yAxis: axis("", { type: "category", inverse: true, data: found.slots.map((slot) => `slot ${slot}`) }),
    dataZoom: [
      ...zoom({ xAxisIndex: 0 }, { filterMode: "weakFilter" }),
      ...(side ? [{ type: "slider", yAxisIndex: 0, width: 16, right: 2, showDetail: false, filterMode: "weakFilter" }] : []),
    ],
    series: [{
      type: "custom", renderItem: bar, encode: { x: [1, 2], y: 0 },
      data: found.slot.map((slot, k) => [slot, found.begin[k], found.end[k], found.kind[k], found.row[k]]),
      markLine: {
        silent: true, symbol: "none",
        data: found.marks.map((mark) => ({
          xAxis: mark.at, label: { show: mark.words !== "", formatter: mark.words, color: colour("soft") },
          lineStyle: mark.words ? { color: colour("ink"), type: "solid" } : { color: colour("soft"), type: [2, 4] },
        })),
      },
    }],
    words: (k) => `${timelineWords(found, k).replace("\n", ", ")}${inline || found.row[k] < 0 ? "" : ". Enter tells more."}`,
  };
}

function button(text, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.addEventListener("click", act);
  return made;
}

function stretch(chart, factor) {
  const { start, end } = chart.getOption().dataZoom[0];
  const middle = (start + end) / 2, half = Math.min(50, Math.max(0.01, (factor * (end - start)) / 2));
  const from = Math.max(0, Math.min(middle - half, 100 - 2 * half));
  chart.dispatchAction({ type: "dataZoom", dataZoomIndex: 0, start: factor === 0 ? 0 : from, end: factor === 0 ? 100 : from + 2 * half });
}

// Draws a chart in its place, whose words then tell of it to those who do not see it.
function place(key, height, option, n, { pick, zoomed } = {}) {
  const still = document.getElementById(`${key}-chart`);
  if (still === null || n === 0) return;
  let one = drawn.get(key);
  if (one === undefined || !one.figure.isConnected) {
    if (one !== undefined) one.chart.dispose();
    const figure = document.createElement("figure"), canvas = document.createElement("div"), told = document.createElement("p");
    figure.className = "zoom";
    canvas.className = "canvas";
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    told.className = "told";
    told.setAttribute("role", "status");
    const tools = document.createElement("p");
    tools.className = "tools";
    figure.append(tools, canvas, told);
    still.before(figure);
    still.classList.add("replaced");
    canvas.style.height = `${height}px`;
    const chart = echarts.init(canvas, null, { renderer: "canvas" });
    if (option.dataZoom) {
      tools.append(button("Zoom in", () => stretch(chart, 0.5)), button("Zoom out", () => stretch(chart, 2)), button("Whole", () => stretch(chart, 0)));
    }
    new ResizeObserver(() => chart.resize()).observe(canvas);
    one = { figure, chart, canvas, told, at: -1, zoomed: null };
    const mine = one;
    canvas.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (by === undefined && event.key !== "Enter") return;
      event.preventDefault();
      if (by !== undefined) {
        mine.at = Math.max(0, Math.min(mine.n - 1, mine.at + by));
        chart.dispatchAction({ type: "showTip", seriesIndex: 0, dataIndex: mine.at });
        mine.told.textContent = mine.words(mine.at);
      } else if (mine.pick && mine.at >= 0) mine.pick(mine.at, mine.told);
    });
    chart.on("click", (event) => { if (mine.pick && event.dataIndex !== undefined) mine.pick(event.dataIndex, mine.told); });
    chart.on("datazoom", () => {
      mine.zoomed = chart.getOption().dataZoom.map(({ start, end }) => ({ start, end }));
      if (mine.fetch) mine.fetch();
    });
    drawn.set(key, one);
  }
  one.canvas.setAttribute("aria-label", `Chart: ${still.dataset.title}. ${still.dataset.told} Arrow keys go through the values.`);
  Object.assign(one, { n, pick, words: option.words, at: Math.min(one.at, n - 1), fetch: zoomed });
  if (one.zoomed !== null && option.dataZoom) one.zoomed.forEach((range, k) => { if (option.dataZoom[k]) Object.assign(option.dataZoom[k], range); });
  one.chart.setOption(option, true);
}

// The server's answer; null where there is no server any more.
async function ask(address) {
  try {
    return await fetch(address);
  } catch {
    return null;
  }
}

async function tell(row, told) {
  told.textContent = "...";
  const answer = await ask(`attempt.json?row=${row}`);
  if (answer === null || !answer.ok) {
    told.textContent = answer === null ? "distfd ui does not answer: it has ended, or cannot be reached." : "It is not there any more.";
    return;
  }
  const one = await answer.json();
  told.textContent = `${one.point}: ${one.status}${one.value === null ? "" : `, J = ${short(one.value, 10)}`}\n`
    + `attempt ${one.attempt}, ${one.started} for ${short(one.seconds, 4)} s, slot ${one.slot}, ${one.host} process ${one.pid}`
    + (one.cause ? `\n${one.cause}` : "") + `\n${pointWords(one)}`
    + (one.directory ? `\nwork directory: ${one.directory}` : "") + (one.command ? `\nto repeat it: ${one.command}` : "");
}

function pointWords(one) {
  if (one.x === null) return `x: ${one.moved ? `${one.moved}; the rest is not stored` : "not stored"}`;
  const shown = one.x.slice(0, 20).map((value, k) => `${one.names[k]} = ${value}`).join(", ");
  return `x: ${shown}${one.x.length > 20 ? `, and ${one.x.length - 20} more` : ""}`;
}

function timeline(found, whole) {
  let waiting = null;
  const height = Math.min(640, 130 + 18 * found.slots.length);
  const pick = (k, told) => {
    if (found.row[k] < 0) told.textContent = `${timelineWords(found, k)} ${inline ? "distfd ui shows each attempt." : "Zoom in to see each attempt."}`;
    else if (inline) told.textContent = timelineWords(found, k);
    else tell(found.row[k], told);
  };
  const look = async () => {
    const { zoomed } = drawn.get("timeline");
    const [time, , lanes] = zoomed, n = whole.slots.length;
    const part = (percent, all) => (percent / 100) * all;
    const low = lanes ? Math.max(0, Math.floor(part(lanes.start, n - 1))) : 0, past = lanes ? Math.ceil(part(lanes.end, n - 1)) + 1 : n;
    const from = part(time.start, whole.seconds), to = part(time.end, whole.seconds);
    const answer = await ask(`timeline.json?from=${from}&to=${to}&first=${low}&past=${past}`);
    const more = answer !== null && answer.ok ? await answer.json() : null;
    if (more !== null && drawn.get("timeline").zoomed === zoomed) timeline(more, whole);
  };
  const zoomed = whole.binned && !inline ? () => { clearTimeout(waiting); waiting = setTimeout(look, 200); } : undefined;
  place("timeline", height, timelineOption(found), found.slot.length, { pick, zoomed });
}

function draw(found) {
  if (found.runs) {
    const runs = found.runs.filter((run) => run.convergence !== null);
    if (runs.length > 0) place("overlay", 340, ...overlayOption(runs));
    return;
  }
  const way = found.convergence;
  if (way) {
    for (const [key, column, name] of [["convergence", "value", way.name], ["above", "above", `${way.name} above its lowest value`], ["norms", "gradient_norm", "|g|"]]) {
      if (!way[column]) continue;
      const curve = { name, x: way.iteration, y: way[column], colour: "up" };
      place(key, 300, lineOption([curve], { x: "iteration", y: name, whole: true }), way.iteration.length);
    }
  }
  if (found.gradient) place("gradient", 90 + 24 * found.gradient.names.length, gradientOption(found.gradient), found.gradient.names.length);
  if (found.profile) {
    const { edges, low, high } = found.profile;
    const words = (k) => `parameters ${edges[k]} to ${edges[k + 1] - 1}: from ${short(low[k])} to ${short(high[k])}`;
    place("profile", 300, boxOption(edges, low, high, { x: "number of the parameter", y: "dJ/dx", words }), low.length);
  }
  if (found.sizes) {
    const curves = [{ name: "size", x: found.sizes.rank, y: found.sizes.size, colour: "up" }];
    if (found.sizes.error.some((error) => error !== null)) curves.push({ name: "error bar", x: found.sizes.rank, y: found.sizes.error, colour: "down" });
    place("sizes", 300, lineOption(curves, { x: "components, the largest first", y: "|dJ/dx|", yLog: true, whole: true }), found.sizes.rank.length);
  }
  if (found.matrix) {
    const { rows, columns } = found.matrix;
    place("matrix", Math.min(700, 110 + 26 * rows.length), matrixOption(found.matrix), rows.length * columns.length);
  }
  if (found.fit) {
    const { number, residual, data, model } = found.fit, about = { x: "number of the residual", yLog: false, whole: true };
    if (data) {
      const curves = [{ name: "model", x: number, y: model, colour: "up", bare: true }, { name: "data", x: number, y: data, colour: "down", points: true }];
      place("fit", 320, lineOption(curves, { ...about, x: "number of the measurement", y: "data and model" }), data.length);
    }
    place("residuals", 280, lineOption([{ name: "residual", x: number, y: residual, colour: "up", points: true }], { ...about, y: "residual", limit: 0 }), number.length);
  }
  if (found.correlation) {
    const { names } = found.correlation;
    place("correlation", Math.min(640, 130 + 32 * names.length), correlationOption(found.correlation), names.length ** 2);
  }
  (found.sweeps || []).forEach((sweep, k) => {
    const curves = [["forward", "up"], ["central", "down"]].flatMap(([name, shade]) => [
      { name, x: sweep.step, y: sweep[name], colour: shade }, { name: `noise of ${name}`, x: sweep.step, y: sweep[`${name}_noise`], colour: shade, dashed: true },
    ]);
    const limit = sweep.error > 0 ? sweep.error : null;
    place(`sweep${k}`, 320, lineOption(curves, { x: "step", y: "distance from the best value", xLog: true, yLog: true, limit }), sweep.step.length);
  });
  if (found.busy) {
    const curve = { name: "slots at work", x: found.busy.time, y: found.busy.busy, colour: "value", step: true };
    const left = found.timeline ? laneRoom(found.timeline) : undefined;
    const about = { x: "seconds since the slots began", y: "slots at work", yLog: false, counted: true, left };
    place("busy", 190, lineOption([curve], about), found.busy.time.length);
  }
  if (found.timeline) {
    timeline(found.timeline, found.timeline);
    const one = drawn.get("timeline");
    if (one && one.fetch && one.zoomed !== null) one.fetch();
  }
  if (found.spent) place("spent", 42, spentOption(found.spent), found.spent.length);
  if (found.lengths) {
    const { edges, counts, logarithmic } = found.lengths;
    const words = (k) => `${short(edges[k], 3)} to ${short(edges[k + 1], 3)} s: ${counts[k]}`;
    place("lengths", 260, boxOption(edges, counts.map(() => 0), counts, { x: "seconds", y: "evaluations", xLog: logarithmic, counted: true, words }), counts.length);
  }
}

async function refresh() {
  if (inline) {
    draw(JSON.parse(inline.textContent));
    return;
  }
  if (running) {
    again = true;
    return;
  }
  running = true;
  try {
    const answer = await ask(document.body.dataset.charts);
    if (answer !== null && answer.ok) draw(await answer.json());
  } finally {
    running = false;
  }
  if (again) {
    again = false;
    refresh();
  }
}

document.addEventListener("distfd-page", refresh);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", refresh);
refresh();
