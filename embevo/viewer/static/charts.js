// Small charts along the slider, on the same scale of steps; a drag in one is a drag of the slider.

import { DASHES, colourOf, inkOf } from "./looks.js";

// Made once, because to make one takes longer than to use it.
const NUMBERS = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });

export class Charts {
  #element;
  #timeline;
  #drawn = new Map();

  constructor(element, timeline) {
    this.#element = element;
    this.#timeline = timeline;
  }

  // Make room for the charts that the runs have; drawn is what they show.
  use(runs, chosen) {
    const names = new Map();
    for (const run of runs) for (const chart of run.shown(chosen)) names.set(chart.name, chart);
    const same = [...names.keys()].join() === [...this.#drawn.keys()].join();
    if (!same) {
      this.#element.replaceChildren();
      this.#drawn.clear();
      for (const [name, chart] of names) {
        const box = document.createElement("div");
        box.className = "chart";
        const canvas = document.createElement("canvas");
        canvas.setAttribute("role", "img");
        canvas.setAttribute("aria-label", `${chart.title} over the steps`);
        const title = document.createElement("p");
        const cursor = document.createElement("i");
        cursor.className = "cursor";
        box.append(canvas, cursor, title);
        this.#element.append(box);
        this.#drag(canvas);
        this.#drawn.set(name, { canvas, cursor, title, still: null });
      }
    }
    for (const held of this.#drawn.values()) held.still = null;
    this.runs = runs;
    this.chosen = chosen;
  }

  #drag(canvas) {
    const to = (event) => {
      const box = canvas.getBoundingClientRect();
      this.#timeline.go(this.#timeline.stepOf((event.clientX - box.left) / box.width));
    };
    canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); to(event); });
    canvas.addEventListener("pointermove", (event) => { if (event.buttons) to(event); });
  }

  refresh() {
    for (const held of this.#drawn.values()) held.still = null;
  }

  draw(state) {
    for (const [name, held] of this.#drawn) this.#one(name, held, state);
  }

  // The lines are drawn once for each size; what moves is a cursor over them, which a browser moves cheaply.
  #one(name, held, state) {
    const { canvas, cursor, title } = held;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width) return;
    const density = Math.min(2, devicePixelRatio || 1);
    if (!held.still || held.still.width !== width || held.still.density !== density) {
      canvas.width = Math.round(width * density);
      canvas.height = Math.round(height * density);
      held.still = { width, density, ...this.#lines(name, canvas, width, height, density) };
    }
    cursor.style.transform = `translateX(${this.#timeline.positionOf(state.step) * width}px)`;
    const words = this.#words(name, held.still, state);
    if (title.textContent !== words) title.textContent = words;
  }

  #lines(name, canvas, width, height, density) {
    const pen = canvas.getContext("2d");
    pen.setTransform(density, 0, 0, density, 0, 0);
    const lines = [];
    this.runs.forEach((run, place) => {
      const chart = run.shown(this.chosen).find((one) => one.name === name);
      if (!chart) return;
      const groups = Object.keys(chart.lines);
      // Where all lines are of parts, that of the whole says little beside them.
      const told = groups.filter((group) => group !== "all" || groups.length < 3);
      told.forEach((group, turn) => lines.push({ run, place, chart, group, turn, values: chart.lines[group] }));
    });
    let [low, high] = [Infinity, -Infinity];
    for (const { values } of lines) for (const value of values) if (value !== null) {
      if (value < low) low = value;
      if (value > high) high = value;
    }
    const logarithmic = low > 0 && high / low > 50;
    const y = (value) => {
      const share = logarithmic ? Math.log(value / low) / Math.log(high / low || 1) : (value - low) / (high - low || 1);
      return height - 3 - share * (height - 8);
    };
    for (const { run, place, chart, group, turn, values } of lines) {
      pen.strokeStyle = group ? colourOf(group, Math.max(0, turn - 2)) : inkOf("accent");
      pen.lineWidth = place ? 1 : 1.5;
      pen.setLineDash(DASHES[place % DASHES.length]);
      pen.beginPath();
      let down = false;
      for (let at = 0; at < values.length; at += 1) {
        const value = values[at];
        if (value === null) { down = false; continue; }
        const x = this.#timeline.positionOf(run.steps[chart.rows ? chart.rows[at] : at]) * width;
        if (down) pen.lineTo(x, y(value));
        else pen.moveTo(x, y(value));
        down = true;
      }
      pen.stroke();
    }
    return { lines, logarithmic };
  }

  #words(name, still, state) {
    const { lines, logarithmic } = still;
    if (!lines.length) return "";
    const told = new Map();
    for (const { run, chart, group, values } of lines) {
      const row = run.rowAt(state.step);
      const value = values[chart.rows ? nearest(chart.rows, row) : row];
      const words = `${group ? `${group} ` : ""}${value === null || value === undefined ? "-" : NUMBERS.format(value)}`;
      told.set(run, [...(told.get(run) ?? []), words]);
    }
    const values = [...told].map(([run, words]) => `${this.runs.length > 1 ? `${run.short} ` : ""}${words.join(", ")}`);
    const unit = lines[0].chart.unit ? `, ${lines[0].chart.unit}` : "";
    const some = lines.find(({ chart }) => chart.rows);
    const of = !some ? "" : some.chart.thinned ? ", thinned" : `, at ${some.chart.rows.length} of ${some.run.rows.toLocaleString("en")} steps`;
    return `${lines[0].chart.title}${unit}${logarithmic ? ", logarithmic" : ""}${of}: ${values.join("; ")}`;
  }
}

// Where in ascending rows the nearest one to a row is; of two as near, the first.
function nearest(rows, row) {
  let [low, high] = [0, rows.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle] < row) low = middle + 1;
    else high = middle;
  }
  return low && row - rows[low - 1] <= rows[low] - row ? low - 1 : low;
}

// Marks of events under the charts; a click goes there.
export class Marks {
  constructor(canvas, timeline) {
    this.canvas = canvas;
    this.timeline = timeline;
    canvas.addEventListener("click", (event) => {
      const best = this.#nearest(event);
      if (best) timeline.go(best.step);
    });
    canvas.addEventListener("pointermove", (event) => {
      const best = this.#nearest(event);
      canvas.title = best ? best.words : "";
    });
  }

  // The mark nearest to a pointer, or null.
  #nearest(event) {
    const box = this.canvas.getBoundingClientRect();
    let [best, least] = [null, 8];
    for (const mark of this.marks ?? []) {
      const away = Math.abs(box.left + this.timeline.positionOf(mark.step) * box.width - event.clientX);
      if (away < least) [best, least] = [mark, away];
    }
    return best;
  }

  draw(runs) {
    const { canvas } = this;
    const width = canvas.clientWidth;
    const density = Math.min(2, devicePixelRatio || 1);
    canvas.width = Math.round(width * density);
    canvas.height = Math.round(12 * density);
    const pen = canvas.getContext("2d");
    pen.setTransform(density, 0, 0, density, 0, 0);
    this.marks = runs.flatMap((run) => run.charts.events.map(({ step, kind }) =>
      ({ step, kind, words: `step ${step.toLocaleString("en")}: ${kind}${runs.length > 1 ? ` in ${run.short}` : ""}` })));
    const kinds = { fission: "live", emission: "live", fusion: "dead", capture: "dead", birth: "dead", death: "live", freezing: "soft" };
    for (const mark of this.marks) {
      const x = this.timeline.positionOf(mark.step) * width;
      pen.fillStyle = inkOf(kinds[mark.kind] ?? "soft");
      pen.globalAlpha = 0.75;
      if (mark.kind === "freezing") pen.fillRect(x - 0.5, 7, 1, 5);
      else pen.fillRect(x - 1, 0, 2, 12);
    }
    pen.globalAlpha = 1;
  }
}
