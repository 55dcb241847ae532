// Orders Gaussians from far to near: a counting sort of 16-bit depths, linear in their number.

const DEPTH_STEPS = 1 << 16;

/** means: 4 numbers a Gaussian; row: [x, y, z, shift] of the view's depth; order: Uint32Array to fill. */
function sortByDepth(means, row, order) {
  const count = order.length;
  const depths = (sortByDepth.depths?.length === count ? sortByDepth.depths : (sortByDepth.depths = new Float32Array(count)));
  let near = Infinity, far = -Infinity;
  for (let g = 0; g < count; g++) {
    const depth = row[0] * means[g * 4] + row[1] * means[g * 4 + 1] + row[2] * means[g * 4 + 2] + row[3];
    depths[g] = depth;
    if (depth < near) near = depth;
    if (depth > far) far = depth;
  }
  const scale = (DEPTH_STEPS - 1) / Math.max(far - near, 1e-9);
  const starts = new Uint32Array(DEPTH_STEPS + 1);
  for (let g = 0; g < count; g++) starts[((far - depths[g]) * scale | 0) + 1]++;
  for (let step = 0; step < DEPTH_STEPS; step++) starts[step + 1] += starts[step];
  for (let g = 0; g < count; g++) order[starts[(far - depths[g]) * scale | 0]++] = g;
}
