// The page: opens the runs, and ties controls, pictures, charts and time together.

import { Charts, Marks } from "./charts.js";
import { bindControls, reflect } from "./controls.js";
import { bindDragging } from "./dragging.js";
import { bindFilming } from "./filming.js";
import { Offers } from "./offers.js";
import { Panel } from "./panel.js";
import { shortNames } from "./parts.js";
import { Run } from "./run.js";
import { saveCsv, savePng, saveSvg, saveZarr } from "./save.js";
import { Refused, Unreachable, sourceOfThisPage } from "./source.js";
import { State } from "./state.js";
import { Timeline } from "./timeline.js";
import { Tokens } from "./tokens.js";
import { twins } from "./twins.js";

const LOOK_MS = 1000;
const PICTURE_MS = 10000;
// A frame that is out of sight, as in a report, gets no animation frames, and draws by the clock.
const UNSEEN_MS = 200;

class App {
  constructor() {
    this.state = new State();
    this.state.take(location.hash.slice(1));
    this.hidden = new Set();
    this.panels = [];
    this.runs = [];
    this.dirty = true;
    // When there was an animation frame last.
    this.seen = 0;
    this.timeline = new Timeline(this.state, { changed: () => this.moved() });
    this.charts = new Charts(document.getElementById("charts"), this.timeline);
    this.marks = new Marks(document.getElementById("marks"), this.timeline);
    this.tokens = new Tokens(this);
    this.offers = new Offers(this);
    this.frames = [];
  }

  async start() {
    this.say("Opening the run ...", true);
    this.source = await sourceOfThisPage();
    if (this.source.state) this.state.take(this.source.state);
    if (this.source.theme) document.documentElement.className = this.source.theme;
    this.source.onLate = (late) => this.late(late);
    this.source.onTheme = (theme) => { document.documentElement.className = theme; this.dress(); };
    this.index = await this.source.json("data/index.json");
    const handlers = { changed: () => this.redraw(), failed: (error) => this.failed(error) };
    this.runs = await Promise.all(this.index.runs.map(({ number }, place) => Run.open(this.source, number, handlers, this.viewFor(this.state.view, place))));
    document.title = `${this.runs.map((run) => run.meta.name).join(" and ")} · embevo`;
    shortNames(this.runs.map((run) => run.meta.name)).forEach((name, place) => { this.runs[place].short = name; });
    const title = document.getElementById("title");
    title.textContent = this.runs.map((run) => run.short).join("  |  ");
    title.title = this.runs.map((run) => run.meta.name).join("  |  ");
    for (const run of this.runs.slice(1)) run.twins = twins(this.runs[0], run);
    this.choose(this.state.selected);
    this.timeline.use(this.runs);
    if (!this.state.stepGiven) this.state.step = this.timeline.last;
    this.state.step = this.timeline.settle(this.state.step);
    const seen = this.see(this.state.view);
    // What draws is made ready meanwhile.
    this.lay();
    this.draw();
    await seen;
    bindControls(this);
    bindDragging(this);
    bindFilming(this);
    this.silence();
    this.tokens.selection();
    this.draw();
    requestAnimationFrame((now) => this.picture(now));
    setInterval(() => { if (performance.now() - this.seen > UNSEEN_MS) this.draw(); }, UNSEEN_MS);
    // Measuring takes the cores that the first picture needs.
    this.measuring = setTimeout(() => this.measure(), PICTURE_MS);
    this.watch();
    addEventListener("resize", () => { this.charts.refresh(); this.redraw(); });
    addEventListener("hashchange", () => this.readAddress());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.dress());
    this.ready = true;
  }

  // Panels: one for each run, or one for all.
  lay() {
    const stage = document.getElementById("stage");
    stage.replaceChildren();
    const over = this.state.layout === "over" && this.runs.length > 1;
    this.panels = over ? [new Panel(stage, this.runs)] : this.runs.map((run) => new Panel(stage, [run]));
    for (const { canvas } of this.panels) {
      canvas.addEventListener("redraw", () => { this.silence(); this.redraw(); });
      canvas.addEventListener("webglcontextlost", () => {
        if (canvas.isConnected) this.say("The browser has taken the graphics from this picture: it comes back with them, or when the page is loaded anew.");
      });
    }
    this.bindPanels?.();
    this.dress();
  }

  dress() {
    for (const panel of this.panels) panel.dress(this.hidden);
    this.tokens.legend();
    this.charts.refresh();
    this.redraw();
  }

  hide(group) {
    if (!this.hidden.delete(group)) this.hidden.add(group);
    this.dress();
  }

  // Open a view of all runs; the one before stays where one of them does not have it.
  async see(view) {
    try {
      await Promise.all(this.runs.map((run, place) => run.see(this.viewFor(view, place))));
      this.state.view = view;
      this.silence();
    } catch (error) {
      if (!this.runs.every((run) => run.view)) {
        if (view === "final-0-1-2") throw error;
        await this.see("final-0-1-2");
      } else {
        await Promise.all(this.runs.map((run, place) => run.see(this.viewFor(this.state.view, place))));
      }
      this.failed(error);
    }
    this.rescale();
    this.redraw();
  }

  // Runs that lie over one another have the components of the first; side by side each has its own, if so wanted.
  viewFor(view, place) {
    const common = this.state.common || this.state.layout === "over";
    return place && common && !view.startsWith("raw") ? `of-0-${view}` : view;
  }

  // Runs side by side have one scale.
  rescale() {
    const views = this.runs.map((run) => run.view);
    const axis = (pick, of) => [0, 1, 2].map((place) => pick(...views.map((view) => view[of][place])));
    this.state.scale = this.runs.length > 1 ? [axis(Math.min, "low"), axis(Math.max, "high")] : null;
  }

  moved() {
    this.redraw();
    this.state.follow = this.state.step >= this.timeline.last;
    this.tokens.story();
    this.remember();
  }

  select(tokens, { add = false } = {}) {
    const before = add ? this.state.selected : new Set();
    const chosen = new Set(before);
    for (const token of tokens) {
      if (add && tokens.length === 1 && chosen.has(token)) chosen.delete(token);
      else chosen.add(token);
    }
    this.choose(chosen);
    this.tokens.selection();
    this.redraw();
    this.remember();
  }

  // Select a token of any run; one that the first run does not have is named, and cannot be followed in both.
  pick(run, token, add) {
    const [first] = run.inFirst([token]);
    if (first !== undefined) this.select([first], { add });
    else this.failed(new Refused(`${this.tokens.name(token, run)} of ${run.meta.name} is not a token of ${this.runs[0].meta.name}: open that run first to select it.`));
  }

  // What is selected are tokens of the first run; in the others the same tokens are, wherever they stand.
  choose(tokens) {
    this.state.selected = new Set([...tokens].filter((token) => token < this.runs[0].tokens));
    for (const run of this.runs) run.selected = new Set(run.here(this.state.selected));
  }

  redraw() {
    this.dirty = true;
  }

  picture(now) {
    requestAnimationFrame((later) => this.picture(later));
    this.seen = performance.now();
    this.timeline.tick(now, !this.waiting);
    this.draw();
  }

  // What is wanted, unless it is drawn already.
  draw() {
    if (!this.dirty) return;
    this.dirty = false;
    const started = performance.now();
    this.waiting = false;
    for (const panel of this.panels) if (panel.draw(this.state)) this.waiting = true;
    this.charts.draw(this.state);
    this.overlay?.();
    reflect(this);
    this.frames.push(performance.now() - started);
    if (this.frames.length > 600) this.frames.shift();
    if (!this.firstPicture && this.panels.some((panel) => panel.shown[0])) {
      this.firstPicture = performance.now();
      this.measure();
    }
  }

  // Once: with the first picture, or where there is none, a moment later.
  measure() {
    clearTimeout(this.measuring);
    if (!this.measured) this.offers.load();
    this.measured = true;
  }

  // Look for new rows, for rewinds of runs that were complete, and whether the server is still there.
  async watch() {
    if (!this.index.served) return;
    try {
      let grown = false;
      for (const run of this.runs) {
        const live = await run.tell(`live-${run.rows}.json`);
        // After a rewind other rows are recorded in the place of those that the page holds.
        if (live.rewinds !== run.meta.rewinds) return location.reload();
        run.meta.state = live.state;
        if (live.rows < run.rows) throw new Refused(`${run.meta.name} was rewound: load the page anew.`);
        if (live.steps.length) {
          run.grow(live.steps);
          grown = true;
        }
      }
      if (this.gone) { this.gone = false; this.silence(); }
      if (grown) await this.grew();
      this.redraw();
    } catch (error) {
      this.gone = true;
      this.failed(error);
    }
    const growing = this.runs.some((run) => run.meta.state !== "complete");
    setTimeout(() => this.watch(), growing ? LOOK_MS : 4 * LOOK_MS);
  }

  async grew() {
    const follow = this.state.follow;
    this.timeline.use(this.runs);
    const outside = Date.now() - (this.rescaled ?? 0) > 5000;
    if (outside) {
      this.rescaled = Date.now();
      this.offers.load();
    }
    if (follow && !this.state.playing) this.state.step = this.timeline.last;
    this.charts.refresh();
    this.marks.draw(this.runs);
    this.tokens.story();
    this.redraw();
  }

  remember() {
    clearTimeout(this.remembering);
    this.remembering = setTimeout(() => {
      const text = `#${this.state.text()}`;
      try {
        if (text !== location.hash) history.replaceState(null, "", text);
      } catch {
        // A page inside another, such as a report, has no address of its own.
      }
    }, 250);
  }

  async readAddress() {
    const text = location.hash.slice(1);
    if (text === this.state.text()) return;
    const before = this.state.view;
    const layout = this.state.layout;
    const common = this.state.common;
    this.state.take(text);
    const wanted = this.state.view;
    this.state.view = before;
    if (wanted !== before || layout !== this.state.layout || common !== this.state.common) await this.see(wanted);
    if (layout !== this.state.layout) this.lay();
    this.state.step = this.timeline.settle(this.state.step);
    this.choose(this.state.selected);
    this.tokens.selection();
    this.offers.chose();
    this.marks.draw(this.runs);
  }

  say(text, calm = false) {
    const box = document.getElementById("status");
    box.textContent = text;
    box.classList.toggle("calm", calm);
    box.hidden = false;
  }

  silence() {
    document.getElementById("status").hidden = true;
  }

  late(late) {
    if (late) this.say("Waiting for the kernel, which is at work: it answers when the cell that runs has ended. If it was restarted, run the cell of this page again.", true);
    else this.silence();
  }

  failed(error) {
    if (error instanceof Unreachable)
      this.say("The server does not answer any more. What is loaded stays; start embevo view again, and open the address that it prints.");
    else if (error instanceof Refused) {
      this.say(error.message);
      clearTimeout(this.hiding);
      this.hiding = setTimeout(() => { if (!this.gone) this.silence(); }, 8000);
    } else this.say(String(error.message ?? error));
  }

  async save(how) {
    const note = document.getElementById("saved");
    note.textContent = "Working ...";
    try {
      if (how === "csv") note.textContent = await saveCsv(this, () => new Promise((done) => setTimeout(done, 30)));
      else if (how === "zarr") note.textContent = await saveZarr(this);
      else note.textContent = how === "png" ? await savePng(this) : saveSvg(this);
    } catch (error) {
      note.textContent = error.message;
    }
  }

  // What is shown of a run; null where nothing is yet.
  shownOf(place) {
    return this.panels.length === 1 ? this.panels[0].shown[place] : this.panels[place].shown[0];
  }

  // Where each token of a run is on the page, in CSS pixels of its panel; for tests and for scripts.
  positions(place = 0) {
    const panel = this.panels.length === 1 ? this.panels[0] : this.panels[place];
    const shown = this.shownOf(place);
    return shown ? { row: shown.row, view: shown.view, pixels: [...shown.pixels], mapping: { ...panel.mapping } } : null;
  }
}

const app = new App();
window.embevo = app;
app.start().catch((error) => app.failed(error));
