// Ties it together: what the face does now, the worker that poses it, the renderer that draws it.

const SMALL_SCREEN = 2; // device pixels per CSS pixel beyond which nobody sees the difference
const GAZE_LIMIT = Math.PI / 6; // eyes turn this far at coefficient 1, up and down 0.7 of it (head/model.py)

async function startPlayer() {
  const message = document.getElementById("message");
  try {
    const avatar = await decodeAvatar(document.getElementById("avatar-data").textContent);
    globalThis.avatarPlayer = new Player(avatar, document.getElementById("view"));
    message.remove();
  } catch (error) {
    message.textContent = error.message;
    throw error;
  }
}

class Player {
  constructor(avatar, canvas) {
    this.avatar = avatar;
    this.canvas = canvas;
    this.camera = new OrbitCamera(avatar.framing);
    this.renderer = new Renderer(canvas, avatar);
    this.clips = avatar.clips.map((clip, index) => new ClipReader(avatar, clip, index));
    this.pose = restingPose();
    this.clip = this.clips[0];
    this.playing = false;
    this.time = 0; // seconds into the clip
    this.done = { frames: 0, milliseconds: 0 }; // answers of the worker so far, and its time for them
    this.shown = { ...this.done }; // as much when the rate was last shown
    this.panel = new Panel(avatar, this.actions());
    this.startWorker();
    this.listen();
    this.changed(true);
    requestAnimationFrame((now) => this.tick(now, now));
  }

  /** Weights by ARKit name; what is not named goes to zero. For scripts in the page, as are the next two. */
  setExpression(weights) {
    this.playing = false;
    this.pose = restingPose();
    for (const [name, weight] of Object.entries(weights)) this.pose.expression[this.avatar.names.indexOf(name)] = weight;
    this.pose.gaze = gazeOf(this.pose.expression, this.avatar.names);
    this.panel.show(this.pose);
    this.changed(true);
  }

  /** Degrees, as `avatar render --yaw --pitch`. */
  setView(yaw, pitch) {
    this.camera.reset();
    this.camera.turn((yaw * Math.PI) / 180, (pitch * Math.PI) / 180);
    this.changed(false);
  }

  /** Resolves when the picture shows the pose and the view. */
  settled() {
    return new Promise((resolve) => {
      const look = () => (this.idle && !this.dirty ? resolve() : requestAnimationFrame(look));
      requestAnimationFrame(() => requestAnimationFrame(look)); // a new size is noticed once a frame
    });
  }

  actions() {
    return {
      expression: (index, weight) => {
        this.playing = false;
        this.pose.expression[index] = weight;
        this.pose.gaze = gazeOf(this.pose.expression, this.avatar.names);
        this.changed(true);
      },
      face: (weights) => this.setExpression(weights),
      head: (axis, radians) => {
        this.playing = false;
        this.pose.neck[axis] = radians;
        this.changed(true);
      },
      background: (color) => { document.body.style.background = color; },
      clip: (index) => {
        this.clip = this.clips[index];
        this.seek(0);
      },
      play: () => { this.playing = !this.playing; },
      seek: (share) => this.seek(share * this.clip.seconds),
    };
  }

  seek(seconds) {
    this.time = seconds % this.clip.seconds;
    this.pose = this.clip.at(this.time);
    this.changed(true);
  }

  startWorker() {
    const source = document.getElementById("worker-source").textContent;
    const address = URL.createObjectURL(new Blob([`"use strict";\n${source}`], { type: "text/javascript" }));
    this.worker = new Worker(address);
    URL.revokeObjectURL(address);
    this.worker.onmessage = ({ data }) => this.answered(data);
    this.worker.onerror = (event) => { throw new Error(`The avatar's worker stopped: ${event.message}`); };
    const { arrays, shapes, neckShare } = this.avatar;
    this.worker.postMessage({ avatar: { arrays, shapes, neckShare } });
    this.buffers = this.renderer.newBuffers();
    this.idle = true;
  }

  changed(posed) {
    this.dirty = true;
    this.posed ||= posed;
  }

  tick(now, before) {
    if (this.playing) this.seek(this.time + (now - before) / 1000);
    this.resize();
    if (this.idle && this.dirty) this.ask();
    if (this.clips.length) this.panel.showPlayback(this.playing, this.time / this.clip.seconds);
    requestAnimationFrame((next) => this.tick(next, now));
  }

  ask() {
    const { rotation, shift } = this.view();
    const question = { buffers: this.buffers, depthRow: [...rotation[2], shift[2]], pose: this.posed ? this.pose : null };
    const { triangles, means, order } = this.buffers;
    this.worker.postMessage(question, [triangles.buffer, means.buffer, order.buffer]);
    this.idle = this.dirty = this.posed = false;
  }

  answered({ buffers, posed, milliseconds }) {
    this.buffers = buffers;
    this.renderer.upload(buffers, posed);
    this.renderer.draw(this.view());
    this.idle = true;
    this.done.frames += 1;
    this.done.milliseconds += milliseconds;
  }

  showRate() {
    const frames = this.done.frames - this.shown.frames;
    const milliseconds = this.done.milliseconds - this.shown.milliseconds;
    const each = frames ? `, ${(milliseconds / frames).toFixed(1)} ms to pose and sort` : "";
    this.panel.rate.textContent = `${frames} frames/s${each}`;
    if (this.playing) this.panel.show(this.pose);
    this.shown = { ...this.done };
  }

  view() {
    return this.camera.view(this.canvas.width, this.canvas.height);
  }

  resize() {
    const density = Math.min(devicePixelRatio, SMALL_SCREEN);
    const width = Math.max(1, Math.round(this.canvas.clientWidth * density));
    const height = Math.max(1, Math.round(this.canvas.clientHeight * density));
    if (width === this.canvas.width && height === this.canvas.height) return;
    Object.assign(this.canvas, { width, height });
    this.changed(false);
  }

  listen() {
    const { canvas, camera } = this;
    canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
    canvas.addEventListener("pointermove", (event) => {
      if (!event.buttons) return;
      camera.turn(-event.movementX * 0.008, event.movementY * 0.008);
      this.changed(false);
    });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      camera.zoom(Math.exp(event.deltaY * 0.001));
      this.changed(false);
    }, { passive: false });
    canvas.addEventListener("dblclick", () => this.setView(0, 0));
    canvas.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] };
      if (!(event.key in steps)) return;
      camera.turn(...steps[event.key]);
      this.changed(false);
    });
    canvas.addEventListener("webglcontextlost", () => location.reload());
    setInterval(() => this.showRate(), 1000);
  }
}

function restingPose() {
  return { expression: new Float32Array(52), gaze: [0, 0, 0, 0], neck: [0, 0, 0], translation: [0, 0, 0] };
}

/** Where the eyes look by the eyeLook coefficients: (left, right) x (yaw to the subject's left, pitch up), radians. */
function gazeOf(expression, names) {
  const of = (name) => expression[names.indexOf(name)];
  return [
    GAZE_LIMIT * (of("eyeLookOutLeft") - of("eyeLookInLeft")),
    GAZE_LIMIT * 0.7 * (of("eyeLookUpLeft") - of("eyeLookDownLeft")),
    GAZE_LIMIT * (of("eyeLookInRight") - of("eyeLookOutRight")),
    GAZE_LIMIT * 0.7 * (of("eyeLookUpRight") - of("eyeLookDownRight")),
  ];
}

/** A clip: poses at any time, linear between its frames, going round and round. */
class ClipReader {
  constructor(avatar, { name, fps, frames }, index) {
    Object.assign(this, { name, fps, frames, seconds: frames / fps });
    const track = (part) => avatar.arrays[`clip${index}.${part}`];
    this.tracks = { expression: track("expression"), gaze: track("gaze"), neck: track("neck"), translation: track("translation") };
  }

  at(seconds) {
    const place = seconds * this.fps;
    const first = Math.floor(place) % this.frames;
    const second = Math.min(first + 1, this.frames - 1);
    const share = place - Math.floor(place);
    const between = (values) => {
      const width = values.length / this.frames;
      return Array.from({ length: width }, (_, i) =>
        values[first * width + i] * (1 - share) + values[second * width + i] * share);
    };
    const { expression, gaze, neck, translation } = this.tracks;
    return {
      expression: Float32Array.from(between(expression)),
      gaze: between(gaze),
      neck: between(neck),
      translation: between(translation),
    };
  }
}
