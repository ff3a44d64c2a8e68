// What is shown, kept in the address, so that a link shows the same elsewhere.

import { Camera } from "./camera.js";

export class State {
  constructor() {
    this.step = 0;
    this.view = "final-0-1-2";
    this.flat = false;
    this.frame = "fixed";
    this.trail = 0;
    this.rings = true;
    this.layout = "side";
    this.common = false;
    this.log = true;
    this.between = false;
    this.speed = "1";
    this.selected = new Set();
    // Names of the charts that are shown beside the usual ones.
    this.charts = [];
    this.camera = new Camera();
    this.playing = false;
    this.follow = true;
    this.tool = "turn";
    this.backwards = false;
    this.hover = null;
  }

  // The part of the address after #; what is as it begins is left out.
  text() {
    const said = new URLSearchParams();
    const first = new State();
    said.set("step", String(Math.round(this.step * 1000) / 1000));
    if (this.view !== first.view) said.set("view", this.view);
    if (this.flat) said.set("flat", "1");
    if (this.frame !== first.frame) said.set("frame", this.frame);
    if (this.trail) said.set("trail", String(this.trail));
    if (!this.rings) said.set("rings", "0");
    if (this.layout !== first.layout) said.set("layout", this.layout);
    if (this.common) said.set("common", "1");
    if (!this.log) said.set("log", "0");
    if (this.between) said.set("between", "1");
    if (this.speed !== first.speed) said.set("speed", this.speed);
    if (this.charts.length) said.set("charts", this.charts.join("."));
    if (this.selected.size) said.set("tokens", [...this.selected].slice(0, 500).join("."));
    if (this.camera.text() !== first.camera.text()) said.set("camera", this.camera.text());
    return said.toString();
  }

  // Take what an address says; what makes no sense is left as it is.
  take(text) {
    const said = new URLSearchParams(text);
    const among = (name, values) => { if (values.includes(said.get(name))) this[name] = said.get(name); };
    const step = Number(said.get("step"));
    if (said.has("step") && Number.isFinite(step)) { this.step = step; this.follow = false; this.stepGiven = true; }
    const view = said.get("view");
    if (view && /^(final|all|raw|sky-origin|sky-centroid|step-\d+)-\d+-\d+-\d+$/.test(view)) this.view = view;
    this.flat = said.get("flat") === "1";
    among("frame", ["fixed", "centroid", "box"]);
    const trail = Number(said.get("trail"));
    if ([10, 50, 200, 1000].includes(trail)) this.trail = trail;
    this.rings = said.get("rings") !== "0";
    among("layout", ["side", "over"]);
    this.common = said.get("common") === "1";
    this.log = said.get("log") !== "0";
    this.between = said.get("between") === "1";
    among("speed", ["0.125", "0.25", "0.5", "1", "2", "4", "rows"]);
    this.charts = (said.get("charts") ?? "").split(".").filter((name) => /^[a-z_]+$/.test(name));
    if (said.has("tokens")) this.selected = new Set(said.get("tokens").split(".").map(Number).filter((token) => Number.isInteger(token) && token >= 0));
    if (said.has("camera")) this.camera.take(said.get("camera"));
  }
}
