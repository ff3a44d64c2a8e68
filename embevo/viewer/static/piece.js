// The binary pieces of embevo/viewer/piece.py.

const FLOAT32 = 0;
const UINT16 = 1;
const REPRESENTATIVES = 2;
const HEADER_BYTES = 32;
const NOT_A_NUMBER = 65535;

export class Piece {
  constructor(buffer) {
    const head = new DataView(buffer);
    if (head.getUint32(0, false) !== 0x454d4256 || head.getUint32(4, true) !== 1)
      throw new Error("The page and the data it was sent are of different versions of embevo: load it anew.");
    this.kind = head.getUint32(8, true);
    this.rows = head.getUint32(12, true);
    this.tokens = head.getUint32(16, true);
    this.numbers = head.getUint32(20, true);
    this.bytes = buffer.byteLength;
    let start = HEADER_BYTES;
    if (this.kind === UINT16) {
      this.offset = new Float32Array(buffer, start, this.numbers);
      this.scale = new Float32Array(buffer, start + 4 * this.numbers, this.numbers);
      start += 8 * this.numbers;
      this.data = new Uint16Array(buffer, start);
    } else if (this.kind === REPRESENTATIVES) {
      this.data = new Uint32Array(buffer, start);
    } else {
      this.data = new Float32Array(buffer, start);
    }
  }

  // (token, 3) float32 places of one row, NaN where there is none.
  row(row, out) {
    const size = this.tokens * this.numbers;
    const part = this.data.subarray(row * size, (row + 1) * size);
    if (this.kind === FLOAT32) {
      out.set(part);
      return out;
    }
    for (let place = 0; place < size; place += 1) {
      const number = part[place];
      const axis = place % this.numbers;
      out[place] = number === NOT_A_NUMBER ? NaN : this.offset[axis] + this.scale[axis] * number;
    }
    return out;
  }

  // (token,) position of the first token with the same bits.
  same(row) {
    return this.data.subarray(row * this.tokens, (row + 1) * this.tokens);
  }
}
