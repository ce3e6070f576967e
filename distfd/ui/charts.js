// The charts of a run's page, drawn by Apache ECharts in the place of the still ones: with values under the pointer or
// the arrow keys, zoom by the strip below, by Ctrl and the wheel, or by buttons, and one attempt's details on a click.
"use strict";

const drawn = new Map();
let running = false, again = false;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
const short = (value, digits = 6) => (value === null ? "\u2013" : String(+value.toPrecision(digits)));

function base() {
  return {
    animation: false,
    textStyle: { fontFamily: getComputedStyle(document.body).fontFamily, color: colour("ink") },
    tooltip: {
      // Drawn in the canvas: what is told is text, and needs no style that the page's policy would refuse.
      renderMode: "richText", confine: true, backgroundColor: colour("panel"), borderColor: colour("rule"),
      textStyle: { color: colour("ink"), fontSize: 13 },
    },
    grid: { left: 96, right: 24, top: 34, bottom: 74 },
  };
}

function axis(name, more) {
  return {
    name, nameTextStyle: { color: colour("soft") }, axisLabel: { color: colour("soft"), hideOverlap: true },
    axisLine: { lineStyle: { color: colour("rule") } }, splitLine: { lineStyle: { color: colour("rule") } }, ...more,
  };
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

function lineOption(x, y, name) {
  const known = y.filter((value) => value !== null);
  const decades = known.length > 0 && Math.min(...known) > 0 && Math.max(...known) > 30 * Math.min(...known);
  const option = base();
  option.tooltip = {
    ...option.tooltip, trigger: "axis",
    formatter: (points) => `iteration ${points[0].value[0]}\n${name} = ${short(points[0].value[1], 8)}`,
  };
  return {
    ...option,
    xAxis: axis("iteration", { type: "value", nameLocation: "middle", nameGap: 26, minInterval: 1, min: "dataMin", max: "dataMax" }),
    yAxis: axis(decades ? `${name}, logarithmic` : name, { type: decades ? "log" : "value", scale: true }),
    dataZoom: zoom({ xAxisIndex: 0 }),
    series: [{
      type: "line", data: x.map((k, i) => [k, y[i]]), symbolSize: 6, showSymbol: x.length <= 150,
      lineStyle: { color: colour("up"), width: 2 }, itemStyle: { color: colour("up") },
    }],
  };
}

const palette = ["up", "down", "straggler", "handing", "retry", "failed", "tail", "between", "useful", "duplicate"];

// J of several runs in one chart.
function overlayOption(runs) {
  const all = runs.flatMap((run) => run.convergence.value).filter((value) => value !== null);
  const decades = all.length > 0 && Math.min(...all) > 0 && Math.max(...all) > 30 * Math.min(...all);
  const option = base();
  option.tooltip = {
    ...option.tooltip, trigger: "axis",
    formatter: (points) => [`iteration ${points[0].value[0]}`]
      .concat(points.map((point) => `${point.seriesName}: ${short(point.value[1], 8)}`)).join("\n"),
  };
  return {
    ...option,
    grid: { ...option.grid, top: 60 },
    legend: { top: 0, right: 0, type: "scroll", textStyle: { color: colour("ink") } },
    xAxis: axis("iteration", { type: "value", nameLocation: "middle", nameGap: 26, minInterval: 1, min: "dataMin", max: "dataMax" }),
    yAxis: axis(decades ? "J, logarithmic" : "J", { type: decades ? "log" : "value", scale: true }),
    dataZoom: zoom({ xAxisIndex: 0 }),
    series: runs.map((run, k) => ({
      type: "line", name: run.name, data: run.convergence.iteration.map((step, i) => [step, run.convergence.value[i]]),
      symbolSize: 5, lineStyle: { color: colour(palette[k % palette.length]), width: 2 },
      itemStyle: { color: colour(palette[k % palette.length]) },
    })),
  };
}

function gradientOption(found) {
  const option = base();
  const bars = found.error.some((error) => error !== null);
  option.tooltip = {
    ...option.tooltip, trigger: "axis", axisPointer: { type: "shadow" },
    formatter: (points) => {
      const k = points[0].dataIndex;
      const error = found.error[k] === null ? "" : ` \u00b1 ${short(found.error[k], 2)}`;
      return `${found.names[k]}\n${found.derivative[k] === null ? "missing" : short(found.derivative[k], 8)}${error}`;
    },
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
  return {
    ...option,
    grid: { ...option.grid, left: 140, bottom: 50 },
    xAxis: axis("dJ/dx", { type: "value", nameLocation: "middle", nameGap: 28 }),
    yAxis: axis("", {
      type: "category", data: found.names, inverse: true,
      axisLabel: { color: colour("ink"), width: 120, overflow: "truncate" }, splitLine: { show: false },
    }),
    dataZoom: [{ type: "inside", yAxisIndex: 0, zoomOnMouseWheel: "ctrl", moveOnMouseWheel: false, moveOnMouseMove: true }],
    series: [
      {
        type: "bar", barMaxWidth: 16,
        data: found.derivative.map((value) => ({ value, itemStyle: { color: colour(value !== null && value < 0 ? "down" : "up") } })),
      },
      ...(bars ? [{ type: "custom", renderItem: whisker, data: found.names.map((_, k) => [k]), silent: true, z: 5 }] : []),
    ],
  };
}

function timelineOption(found) {
  const option = base();
  const colours = found.kinds.map(colour);
  const what = (k) => {
    const seconds = found.end[k] - found.begin[k];
    return `slot ${found.slots[found.slot[k]]}: ${found.words[found.kind[k]]}\n`
      + `from ${short(found.begin[k])} s, for ${short(seconds, 4)} s`;
  };
  option.tooltip = { ...option.tooltip, formatter: (point) => what(point.dataIndex) };
  const bar = (params, api) => {
    const lane = api.value(0), from = api.coord([api.value(1), lane]), to = api.coord([api.value(2), lane]);
    const height = Math.max(1, api.size([0, 1])[1] * 0.72);
    const shape = echarts.graphic.clipRectByRect(
      { x: from[0], y: from[1] - height / 2, width: Math.max(0.6, to[0] - from[0]), height },
      { x: params.coordSys.x, y: params.coordSys.y, width: params.coordSys.width, height: params.coordSys.height },
    );
    return shape && { type: "rect", shape, style: { fill: colours[api.value(3)] } };
  };
  return {
    ...option,
    xAxis: axis("seconds since the slots began", { type: "value", nameLocation: "middle", nameGap: 26, min: 0, max: found.seconds }),
    yAxis: axis("", { type: "category", inverse: true, data: found.slots.map((slot) => `slot ${slot}`) }),
    dataZoom: [
      ...zoom({ xAxisIndex: 0 }, { filterMode: "weakFilter" }),
      ...(found.slots.length > 12 ? [{ type: "slider", yAxisIndex: 0, width: 16, right: 2, showDetail: false, filterMode: "weakFilter" }] : []),
    ],
    series: [{
      type: "custom", renderItem: bar, encode: { x: [1, 2], y: 0 },
      data: found.slot.map((slot, k) => [slot, found.begin[k], found.end[k], found.kind[k]]),
    }],
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

// Puts a chart in the place of a still one, whose words then tell of it to those who do not see it.
function place(key, height, option, n, pick) {
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
    tools.append(button("Zoom in", () => stretch(chart, 0.5)), button("Zoom out", () => stretch(chart, 2)), button("Whole", () => stretch(chart, 0)));
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
    chart.on("datazoom", () => { mine.zoomed = chart.getOption().dataZoom.map(({ start, end }) => ({ start, end })); });
    drawn.set(key, one);
  }
  const words = still.querySelector("svg");
  one.canvas.setAttribute("aria-label", `${[...words.children].slice(0, 2).map((part) => part.textContent).join(". ")} Arrow keys go through the values.`);
  one.n = n;
  one.pick = pick;
  one.words = option.words;
  if (one.zoomed !== null) one.zoomed.forEach((range, k) => { if (option.dataZoom[k]) Object.assign(option.dataZoom[k], range); });
  one.chart.setOption(option, true);
}

async function tell(row, told) {
  told.textContent = "...";
  const answer = await fetch(`attempt.json?row=${row}`);
  if (!answer.ok) {
    told.textContent = "It is not there any more.";
    return;
  }
  const one = await answer.json();
  told.textContent = `${one.point}: ${one.status}${one.value === null ? "" : `, J = ${short(one.value, 10)}`}\n`
    + `attempt ${one.attempt}, ${one.started} for ${short(one.seconds, 4)} s, slot ${one.slot}, ${one.host} process ${one.pid}`
    + (one.cause ? `\n${one.cause}` : "");
}

function draw(found) {
  if (found.runs) {
    const runs = found.runs.filter((run) => run.convergence !== null);
    if (runs.length === 0) return;
    const option = overlayOption(runs), longest = runs.reduce((a, b) => (b.convergence.value.length > a.convergence.value.length ? b : a));
    option.series.sort((a, b) => (b.name === longest.name) - (a.name === longest.name));
    option.words = (k) => `iteration ${longest.convergence.iteration[k]}: `
      + runs.map((run) => `${run.name} ${short(run.convergence.value[k] ?? null, 6)}`).join(", ");
    place("overlay", 340, option, longest.convergence.value.length);
    return;
  }
  const way = found.convergence;
  if (way) {
    for (const [key, column, name] of [["convergence", "value", "J"], ["norms", "gradient_norm", "|g|"]]) {
      const option = lineOption(way.iteration, way[column], name);
      option.words = (k) => `iteration ${way.iteration[k]}: ${name} = ${short(way[column][k], 8)}`;
      place(key, 300, option, way.iteration.length);
    }
  }
  if (found.gradient) {
    const option = gradientOption(found.gradient), { names, derivative, error } = found.gradient;
    option.words = (k) => `${names[k]}: ${short(derivative[k], 8)}${error[k] === null ? "" : ` \u00b1 ${short(error[k], 2)}`}`;
    place("gradient", 90 + 24 * names.length, option, names.length);
  }
  if (found.timeline) {
    const line = found.timeline, option = timelineOption(line);
    option.words = (k) => `slot ${line.slots[line.slot[k]]}, from ${short(line.begin[k])} s: ${line.words[line.kind[k]]}. Enter tells more.`;
    place("timeline", Math.min(640, 120 + 18 * line.slots.length), option, line.slot.length, (k, told) => tell(line.row[k], told));
  }
}

async function refresh() {
  if (running) {
    again = true;
    return;
  }
  running = true;
  try {
    const answer = await fetch(document.body.dataset.charts);
    if (answer.ok) draw(await answer.json());
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
