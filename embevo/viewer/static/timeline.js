// The slider: from its position, between 0 and 1, to a step and back; and playing.

const SECONDS = 24;

export class Timeline {
  constructor(state, { changed }) {
    this.state = state;
    this.changed = changed;
    this.before = 0;
    this.carried = 0;
    // The step that playing itself has gone to: whatever else moves the slider is taken up from there.
    this.left = null;
  }

  // The steps of the slider are those of the run that reaches furthest.
  use(runs) {
    this.runs = runs;
    const longest = runs.reduce((most, run) => (run.steps.at(-1) > most.steps.at(-1) ? run : most), runs[0]);
    this.steps = longest.steps;
    this.run = longest;
  }

  get first() {
    return this.steps[0];
  }

  get last() {
    return this.steps.at(-1);
  }

  positionOf(step) {
    const span = this.last - this.first;
    if (!span) return 0;
    return this.state.log ? Math.log1p(step - this.first) / Math.log1p(span) : (step - this.first) / span;
  }

  stepOf(position) {
    const span = this.last - this.first;
    const share = Math.min(1, Math.max(0, position));
    return this.first + (this.state.log ? Math.expm1(share * Math.log1p(span)) : share * span);
  }

  // The recorded step nearest to one, unless places between steps are wanted.
  settle(step) {
    const row = this.run.rowAt(step);
    if (this.state.between) return Math.min(this.last, Math.max(this.first, step));
    const next = this.steps[Math.min(row + 1, this.steps.length - 1)];
    return next - step < step - this.steps[row] ? next : this.steps[row];
  }

  go(step) {
    const wanted = this.settle(step);
    if (wanted === this.state.step) return;
    this.state.backwards = wanted < this.state.step;
    this.state.step = wanted;
    this.changed();
  }

  by(rows) {
    const row = this.run.rowAt(this.state.step);
    const wanted = Math.min(this.steps.length - 1, Math.max(0, row + rows));
    this.state.backwards = rows < 0;
    this.state.step = this.steps[wanted];
    this.changed();
  }

  // One picture of a film; called with the time, and only when the picture before it was complete.
  tick(now, ready) {
    if (!this.state.playing) {
      this.before = now;
      return;
    }
    const seconds = Math.min(0.1, (now - this.before) / 1000);
    this.before = now;
    if (!ready) return;
    if (this.state.step >= this.last) {
      this.state.playing = false;
      this.changed();
      return;
    }
    if (this.state.speed === "rows") {
      this.by(1);
      return;
    }
    // Positions between two steps are carried on, so that slow playing arrives at all.
    if (this.left !== this.state.step) this.carried = this.positionOf(this.state.step);
    this.carried = Math.min(1, this.carried + (seconds * Number(this.state.speed)) / SECONDS);
    const step = this.stepOf(this.carried);
    if (this.state.between) this.go(step);
    else this.go(this.steps[this.run.rowAt(step + 1e-9)]);
    this.state.backwards = false;
    this.left = this.state.step;
  }
}
