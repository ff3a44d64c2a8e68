// How the cloud is looked at: an orthographic projection that is turned, moved and enlarged.

export class Camera {
  constructor() {
    this.reset();
  }

  reset() {
    this.turn = [0, 0, 0, 1];
    this.zoom = 1;
    this.shift = [0, 0];
    // A first look at three dimensions that shows that there are three.
    this.rotate(0.5, -0.35);
  }

  // By angles about the vertical and the horizontal of the screen.
  rotate(across, down) {
    const vertical = [0, Math.sin(across / 2), 0, Math.cos(across / 2)];
    const horizontal = [Math.sin(-down / 2), 0, 0, Math.cos(-down / 2)];
    this.turn = normal(product(product(horizontal, vertical), this.turn));
  }

  // Three rows of three: from the axes of the data to those of the screen.
  matrix(flat) {
    if (flat) return [1, 0, 0, 0, 1, 0, 0, 0, 1];
    const [x, y, z, w] = this.turn;
    return [
      1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w),
      2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
      2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y),
    ];
  }

  text() {
    const short = (number) => String(Math.round(number * 1e4) / 1e4);
    return [...this.turn, this.zoom, ...this.shift].map(short).join(",");
  }

  take(text) {
    const numbers = text.split(",").map(Number);
    if (numbers.length !== 7 || !numbers.every(Number.isFinite) || numbers[4] <= 0) return;
    this.turn = normal(numbers.slice(0, 4));
    this.zoom = numbers[4];
    this.shift = numbers.slice(5);
  }
}

function product(a, b) {
  const [ax, ay, az, aw] = a;
  const [bx, by, bz, bw] = b;
  return [
    aw * bx + ax * bw + ay * bz - az * by,
    aw * by - ax * bz + ay * bw + az * bx,
    aw * bz + ax * by - ay * bx + az * bw,
    aw * bw - ax * bx - ay * by - az * bz,
  ];
}

function normal(turn) {
  const length = Math.hypot(...turn) || 1;
  return turn.map((part) => part / length);
}

// From places in the data to pixels of a panel: scale, middle, turn, zoom, shift, in that order.
export class Mapping {
  constructor({ low, high, width, height, camera, flat }) {
    this.middle = low.map((value, axis) => (value + high[axis]) / 2);
    const spans = low.map((value, axis) => high[axis] - value);
    // All axes have one scale, so that shapes are what they are.
    const [w, h] = [width * 0.84, height * 0.8];
    const wide = flat ? Math.max(spans[0] / w, spans[1] / h)
      : Math.max(spans[0] / w, Math.hypot(spans[1], spans[2]) / h, Math.hypot(...spans) / (1.5 * h));
    this.unit = (wide > 0 ? 1 / wide : Math.min(width, height) / 2) * camera.zoom;
    this.turn = camera.matrix(flat);
    this.centre = [width / 2 + camera.shift[0] * width, height / 2 + camera.shift[1] * height];
    this.width = width;
    this.height = height;
  }

  // Pixels from the left and from the top, and depth towards the viewer, in pixels.
  place(x, y, z, out) {
    const [a, b, c] = [x - this.middle[0], y - this.middle[1], z - this.middle[2]];
    const turn = this.turn;
    out[0] = this.centre[0] + this.unit * (turn[0] * a + turn[1] * b + turn[2] * c);
    out[1] = this.centre[1] - this.unit * (turn[3] * a + turn[4] * b + turn[5] * c);
    out[2] = this.unit * (turn[6] * a + turn[7] * b + turn[8] * c);
    return out;
  }

  // The same for all of a row: (token, 3) pixels.
  all(places, out) {
    const spot = [0, 0, 0];
    for (let at = 0; at < places.length; at += 3) {
      this.place(places[at], places[at + 1], places[at + 2], spot);
      out[at] = spot[0];
      out[at + 1] = spot[1];
      out[at + 2] = spot[2];
    }
    return out;
  }
}
