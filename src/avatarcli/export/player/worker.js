// Poses and sorts away from the page, so that sliders never wait. One question at a time, one answer for each.

let rig = null;
let lastPose = null;

self.onmessage = ({ data }) => {
  if (data.avatar) {
    rig = new Rig(data.avatar);
    return;
  }
  const began = performance.now();
  const { triangles, means, order } = data.buffers;
  if (data.pose) {
    rig.pose(data.pose, triangles, means);
    lastPose = means.slice();
  } else {
    means.set(lastPose); // only the camera moved
  }
  sortByDepth(means, data.depthRow, order);
  const answer = { posed: Boolean(data.pose), buffers: data.buffers, milliseconds: performance.now() - began };
  self.postMessage(answer, [triangles.buffer, means.buffer, order.buffer]);
};
