// Which token of one run is which of another: the same id, called the same. Runs may hold other tokens, or other
// vocabularies, and a place in the list says nothing then.

import { tokenId, tokenLabel } from "./run.js";

// (token of the first run,) its position in the other, and the other way round; -1 where there is none.
export function twins(first, other) {
  const places = new Map();
  for (let token = 0; token < other.tokens; token += 1) places.set(tokenId(other, token), token);
  const there = new Int32Array(first.tokens).fill(-1);
  const back = new Int32Array(other.tokens).fill(-1);
  for (let token = 0; token < first.tokens; token += 1) {
    const twin = places.get(tokenId(first, token));
    if (twin === undefined || tokenLabel(other, twin) !== tokenLabel(first, token)) continue;
    there[token] = twin;
    back[twin] = token;
  }
  return { there, back };
}
