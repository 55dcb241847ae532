// Unpacks what export/player_data.py packed: base64 of zlib's deflate of a JSON header and arrays.

const ARRAY_TYPES = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, f4: Float32Array };

/** The avatar: the header's fields, and `arrays`: name -> typed array (quantised ones as Float32Array). */
async function decodeAvatar(base64) {
  const packed = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const content = await new Response(stream).arrayBuffer();
  const headerLength = new DataView(content).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(content, 4, headerLength)));
  const arrays = {};
  for (const [name, entry] of Object.entries(header.arrays)) {
    arrays[name] = decodeArray(content, 4 + headerLength, entry);
  }
  return { ...header, arrays, shapes: Object.fromEntries(Object.entries(header.arrays).map(([n, e]) => [n, e.shape])) };
}

function decodeArray(content, base, entry) {
  const count = entry.shape.reduce((product, side) => product * side, 1);
  const stored = new ARRAY_TYPES[entry.type](content, base + entry.start, count);
  if (entry.scale === undefined) return stored.slice();
  return Float32Array.from(stored, (value) => value * entry.scale + entry.offset);
}
