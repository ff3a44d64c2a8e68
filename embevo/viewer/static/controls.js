// Buttons, boxes and keys.

const TRAILS = [0, 10, 50, 200, 1000];
const SPEEDS = ["0.125", "0.25", "0.5", "1", "2", "4", "rows"];
const $ = (id) => document.getElementById(id);

export function bindControls(app) {
  const { state, timeline } = app;
  // Without the server there are those views alone that were kept.
  if (!app.index.served) {
    for (const option of $("view-kind").options) option.disabled = !app.index.views.some((view) => view.startsWith(`${option.value}-`));
    for (const axis of [0, 1, 2]) $(`axis-${axis}`).disabled = true;
  }
  const act = (id, what) => $(id).addEventListener("click", () => { what(); app.redraw(); app.remember(); });
  const view = () => {
    const kind = $("view-kind").value === "step" ? `step-${app.runs[0].steps[app.runs[0].rowAt(state.step)]}` : $("view-kind").value;
    const axes = [0, 1, 2].map((axis) => {
      const first = kind === "raw" ? 0 : 1;
      return Math.max(0, Math.round(Number($(`axis-${axis}`).value) || first) - first);
    });
    app.see([kind, ...axes].join("-")).then(() => app.remember());
  };
  $("view-kind").addEventListener("change", () => {
    // Dimensions are counted from 0, components from 1.
    const raw = $("view-kind").value === "raw";
    for (const axis of [0, 1, 2]) { $(`axis-${axis}`).min = raw ? 0 : 1; $(`axis-${axis}`).value = axis + (raw ? 0 : 1); }
    view();
  });
  for (const axis of [0, 1, 2]) $(`axis-${axis}`).addEventListener("change", view);
  const choose = (id, name, convert = (value) => value) => $(id).addEventListener("change", () => {
    state[name] = convert($(id).value);
    app.redraw();
    app.remember();
  });
  choose("frame", "frame");
  choose("trail", "trail", Number);
  choose("speed", "speed");
  $("layout").addEventListener("change", () => {
    state.layout = $("layout").value === "over" ? "over" : "side";
    state.common = $("layout").value !== "own";
    app.see(state.view).then(() => { app.lay(); app.remember(); });
  });
  $("layout-label").hidden = app.runs.length < 2;
  act("flat", () => { state.flat = !state.flat; });
  act("rings", () => { state.rings = !state.rings; });
  for (const tool of ["turn", "box", "lasso"]) act(`tool-${tool}`, () => { state.tool = tool; });
  act("reset", () => state.camera.reset());
  act("to-start", () => timeline.go(timeline.first));
  act("back", () => timeline.by(-1));
  act("forward", () => timeline.by(1));
  act("to-end", () => timeline.go(timeline.last));
  act("play", () => play(app));
  const scale = () => { state.log = !state.log; app.charts.refresh(); app.marks.draw(app.runs); };
  act("log", scale);
  act("between", () => { state.between = !state.between; timeline.go(timeline.settle(state.step)); });
  act("follow", () => { state.follow = true; timeline.go(timeline.last); });
  $("slider").addEventListener("input", () => timeline.go(timeline.stepOf(Number($("slider").value) / 1e6)));
  $("help-open").addEventListener("click", () => $("help").showModal());
  $("save-zarr").hidden = !app.index.served;
  for (const how of ["png", "svg", "csv", "zarr"]) $(`save-${how}`).addEventListener("click", () => app.save(how));

  const keys = {
    " ": () => play(app), Home: () => timeline.go(timeline.first), End: () => timeline.go(timeline.last),
    ArrowLeft: (shift) => timeline.by(shift ? -10 : -1), ArrowRight: (shift) => timeline.by(shift ? 10 : 1),
    "[": () => speed(state, -1), "]": () => speed(state, 1), g: scale,
    2: () => { state.flat = !state.flat; }, 0: () => state.camera.reset(),
    w: () => turn(state, 0, -1), s: () => turn(state, 0, 1), a: () => turn(state, -1, 0), d: () => turn(state, 1, 0),
    "+": () => { state.camera.zoom *= 1.2; }, "=": () => { state.camera.zoom *= 1.2; }, "-": () => { state.camera.zoom /= 1.2; },
    v: () => { state.tool = "turn"; }, b: () => { state.tool = "box"; }, l: () => { state.tool = "lasso"; },
    h: () => { state.rings = !state.rings; },
    t: () => { state.trail = TRAILS[(TRAILS.indexOf(state.trail) + 1) % TRAILS.length]; },
    ",": () => next(app, -1), ".": () => next(app, 1),
    "/": () => $("search").focus(), "?": () => $("help").showModal(), Escape: () => app.select([]),
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
    const on = event.target;
    if (on.matches?.("input:not([type=range]), select, textarea")) {
      if (event.key === "Escape") on.blur();
      return;
    }
    // Space on a button presses it, and on a summary opens it.
    if (event.key === " " && on.matches?.("button, summary, a")) return;
    const what = keys[event.key];
    if (!what) return;
    event.preventDefault();
    what(event.shiftKey);
    app.redraw();
    app.remember();
  });
}

function play(app) {
  const { state, timeline } = app;
  state.playing = !state.playing;
  if (state.playing && state.step >= timeline.last) timeline.go(timeline.first);
}

function speed(state, by) {
  state.speed = SPEEDS[Math.min(SPEEDS.length - 1, Math.max(0, SPEEDS.indexOf(state.speed) + by))];
}

function turn(state, across, down) {
  if (state.flat || state.view.startsWith("sky")) {
    state.camera.shift[0] += across * 0.05;
    state.camera.shift[1] += down * 0.05;
  } else state.camera.rotate(across * 0.12, -down * 0.12);
}

function next(app, by) {
  const tokens = app.runs[0].tokens;
  const [token] = app.state.selected.size ? app.state.selected : [by > 0 ? -1 : 0];
  app.select([(token + by + tokens) % tokens]);
}

// Have the controls say what the state is.
export function reflect(app) {
  const { state, timeline } = app;
  const press = (id, on) => $(id).setAttribute("aria-pressed", String(Boolean(on)));
  const sky = state.view.startsWith("sky");
  press("flat", state.flat || sky);
  $("flat").disabled = sky;
  press("rings", state.rings);
  press("log", state.log);
  press("between", state.between);
  for (const tool of ["turn", "box", "lasso"]) press(`tool-${tool}`, state.tool === tool);
  const parts = state.view.split("-");
  const axes = parts.slice(-3).map(Number);
  const kind = parts[0] === "sky" ? `${parts[0]}-${parts[1]}` : parts[0];
  if (document.activeElement !== $("view-kind")) $("view-kind").value = kind;
  axes.forEach((axis, place) => {
    const box = $(`axis-${place}`);
    if (document.activeElement !== box) box.value = axis + (kind === "raw" ? 0 : 1);
  });
  for (const [id, value] of [["frame", state.frame], ["trail", String(state.trail)], ["speed", state.speed], ["layout", state.layout === "over" ? "over" : state.common ? "side" : "own"]])
    if (document.activeElement !== $(id)) $(id).value = value;
  const slider = $("slider");
  const position = String(Math.round(timeline.positionOf(state.step) * 1e6));
  if (slider.value !== position) slider.value = position;
  const step = timeline.run.steps[timeline.run.rowAt(state.step)];
  const shown = state.between && state.step !== step ? `step ${step.toLocaleString("en")} + ${(state.step - step).toFixed(2)}` : `step ${step.toLocaleString("en")}`;
  slider.setAttribute("aria-valuetext", shown);
  $("now").textContent = `${shown} of ${timeline.last.toLocaleString("en")}`;
  const button = $("play");
  const shape = state.playing ? "M3 2h3.6v12H3zM9.4 2H13v12H9.4z" : "M4 2v12l10-6z";
  const drawn = button.querySelector("path");
  if (drawn.getAttribute("d") !== shape) drawn.setAttribute("d", shape);
  button.setAttribute("aria-label", state.playing ? "Pause" : "Play");
  const recording = app.runs.some((run) => run.meta.state === "recording");
  $("follow").hidden = !recording;
  press("follow", state.follow);
  const said = app.runs.map((run) => ({ recording: "recording", interrupted: "interrupted: as it was captured", unknown: "being written elsewhere" })[run.meta.state] ?? "").filter(Boolean);
  const measuring = app.runs.map((run) => run.charts).filter((charts) => charts.measuring);
  if (measuring.length) {
    const [done, all] = measuring.reduce(([past, whole], { measuring: [done, rows] }) => [past + done, whole + rows], [0, 0]);
    said.push(all ? `measuring ${Math.floor((100 * done) / all)} %` : "measuring");
  }
  for (const run of app.runs) if (run.charts.failure) said.push(`not measured: ${run.charts.failure}`);
  const text = said.join(" · ");
  if ($("live").textContent !== text) $("live").textContent = text;
}
