// Points and lines on a canvas, drawn by WebGL 2. Places come in pixels: the same numbers that picking uses.

const POINT_VERTEX = `#version 300 es
in vec3 place; in vec4 colour; in vec2 look;
uniform vec2 size; uniform float depth; uniform float density;
out vec4 tint; flat out int shape; out float extent;
void main() {
  gl_Position = vec4(place.x / size.x * 2.0 - 1.0, 1.0 - place.y / size.y * 2.0, clamp(-place.z / depth, -1.0, 1.0), 1.0);
  if (!(abs(place.x) < 1e7 && abs(place.y) < 1e7)) gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
  float near = clamp(place.z / depth, -1.0, 1.0);
  extent = look.x * density * (1.0 + 0.18 * near);
  gl_PointSize = extent + 2.0;
  shape = int(look.y + 0.5);
  tint = vec4(colour.rgb, colour.a * (0.86 + 0.14 * near));
}`;
const POINT_FRAGMENT = `#version 300 es
precision highp float;
in vec4 tint; flat in int shape; in float extent; out vec4 result;
void main() {
  vec2 at = (gl_PointCoord - 0.5) * (extent + 2.0);
  float half_width = extent * 0.5;
  float away;
  if (shape == 1) away = max(abs(at.x), abs(at.y)) - half_width * 0.82;
  else if (shape == 2) away = max(abs(at.x) * 0.87 - at.y * 0.5, at.y) - half_width * 0.62;
  else if (shape == 3) away = (abs(at.x) + abs(at.y)) * 0.7071 - half_width * 0.78;
  else if (shape == 4) away = abs(length(at) - half_width * 0.8) - 1.0;
  else away = length(at) - half_width;
  float cover = clamp(0.5 - away, 0.0, 1.0);
  if (cover <= 0.0) discard;
  result = vec4(tint.rgb * tint.a * cover, tint.a * cover);
}`;
const LINE_VERTEX = `#version 300 es
in vec3 place; in vec4 colour; uniform vec2 size; out vec4 tint;
void main() {
  gl_Position = vec4(place.x / size.x * 2.0 - 1.0, 1.0 - place.y / size.y * 2.0, 0.0, 1.0);
  tint = colour;
}`;
const LINE_FRAGMENT = `#version 300 es
precision mediump float; in vec4 tint; out vec4 result;
void main() { result = vec4(tint.rgb * tint.a, tint.a); }`;

export class Points {
  #gl;
  #points;
  #lines;
  #buffers;

  constructor(canvas) {
    this.canvas = canvas;
    const gl = canvas.getContext("webgl2", { antialias: true, premultipliedAlpha: true, preserveDrawingBuffer: true });
    if (!gl) throw new Error("This browser has no WebGL 2, which draws the cloud: use a newer one, or let it use the graphics card.");
    this.#gl = gl;
    this.#prepare();
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => { this.#prepare(); canvas.dispatchEvent(new Event("redraw")); });
  }

  // Of a context that was taken away nothing can be had: all is made when it is given back.
  #prepare() {
    const gl = this.#gl;
    this.#points = null;
    try {
      this.#lines = program(gl, LINE_VERTEX, LINE_FRAGMENT, ["place", "colour"], ["size"]);
      this.#buffers = Object.fromEntries(["place", "colour", "look", "line", "tint"].map((name) => [name, gl.createBuffer()]));
      this.#points = program(gl, POINT_VERTEX, POINT_FRAGMENT, ["place", "colour", "look"], ["size", "depth", "density"]);
    } catch (error) {
      if (!gl.isContextLost()) throw error;
    }
  }

  resize(width, height, density) {
    const [w, h] = [Math.max(1, Math.round(width * density)), Math.max(1, Math.round(height * density))];
    if (this.canvas.width !== w || this.canvas.height !== h) {
      this.canvas.width = w;
      this.canvas.height = h;
    }
    this.size = [width, height];
    this.density = density;
  }

  clear() {
    const gl = this.#gl;
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.disable(gl.DEPTH_TEST);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }

  // places (n, 3) pixels; colours (n, 4) from 0 to 1; looks (n, 2): diameter in pixels, number of the shape.
  points(places, colours, looks) {
    const gl = this.#gl;
    if (!this.#points) return;
    const [w, h] = this.size;
    gl.useProgram(this.#points.program);
    gl.uniform2f(this.#points.uniforms.size, w, h);
    gl.uniform1f(this.#points.uniforms.depth, Math.max(w, h));
    gl.uniform1f(this.#points.uniforms.density, this.density);
    this.#send("place", this.#points.attributes.place, places, 3);
    this.#send("colour", this.#points.attributes.colour, colours, 4);
    this.#send("look", this.#points.attributes.look, looks, 2);
    gl.drawArrays(gl.POINTS, 0, places.length / 3);
  }

  // Ends of lines, two a line: places (2n, 3) pixels, colours (2n, 4).
  lines(places, colours, count) {
    const gl = this.#gl;
    if (!this.#points) return;
    gl.useProgram(this.#lines.program);
    gl.uniform2f(this.#lines.uniforms.size, ...this.size);
    this.#send("line", this.#lines.attributes.place, places, 3);
    this.#send("tint", this.#lines.attributes.colour, colours, 4);
    gl.drawArrays(gl.LINES, 0, count);
  }

  #send(buffer, attribute, data, numbers) {
    const gl = this.#gl;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.#buffers[buffer]);
    gl.bufferData(gl.ARRAY_BUFFER, data, gl.DYNAMIC_DRAW);
    gl.enableVertexAttribArray(attribute);
    gl.vertexAttribPointer(attribute, numbers, gl.FLOAT, false, 0, 0);
  }
}

function program(gl, vertex, fragment, attributes, uniforms) {
  const made = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
    gl.attachShader(made, shader);
  }
  attributes.forEach((name, place) => gl.bindAttribLocation(made, place, name));
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(made));
  return {
    program: made,
    attributes: Object.fromEntries(attributes.map((name, place) => [name, place])),
    uniforms: Object.fromEntries(uniforms.map((name) => [name, gl.getUniformLocation(made, name)])),
  };
}
