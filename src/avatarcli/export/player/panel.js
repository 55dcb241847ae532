// The controls: sliders grouped as faces are, named expressions, head and background; and the bar with the clips.

const GROUPS = [
  ["Brows", /^brow/],
  ["Eyes", /^eye(Blink|Squint|Wide)/],
  ["Gaze", /^eyeLook/],
  ["Cheeks and nose", /^(cheek|nose)/],
  ["Jaw and tongue", /^(jaw|tongue)/],
  ["Mouth", /^mouth/],
];
const OPEN_AT_FIRST = new Set(["Jaw and tongue", "Head"]);
// Degrees each way, about x, y and z of the head.
const HEAD_TURNS = [["Nod", 0, 25], ["Turn", 1, 45], ["Tilt", 2, 25]];
const BACKGROUNDS = { White: "#ffffff", Grey: "#808890", Black: "#000000" };

class Panel {
  /** on: { expression(index, weight), face(weights), head(axis, radians), background(color), clip(index), play(), seek(share) } */
  constructor(avatar, on) {
    this.on = on;
    this.sliders = [];
    const panel = document.getElementById("panel");
    panel.append(this.faces(avatar), ...this.groups(avatar.names), this.head(), this.backgrounds());
    document.getElementById("bar").append(...this.clips(avatar.clips));
  }

  faces(avatar) {
    const choices = [["neutral", {}], ...Object.entries(avatar.faces)];
    return row(...choices.map(([name, weights]) => button(name, () => this.on.face(weights))));
  }

  groups(names) {
    return GROUPS.map(([title, pattern]) => {
      const inside = names.flatMap((name, index) => (pattern.test(name) ? [[name, index]] : []));
      return section(title, inside.map(([name, index]) => {
        const [line, input] = slider(readable(name), 0, 1, (weight) => this.on.expression(index, weight));
        input.dataset.expression = name;
        this.sliders[index] = input;
        return line;
      }));
    });
  }

  head() {
    this.turns = [];
    return section("Head", HEAD_TURNS.map(([name, axis, limit]) => {
      const [line, input] = slider(name, -limit, limit, (degrees) => this.on.head(axis, (degrees * Math.PI) / 180));
      this.turns[axis] = input;
      return line;
    }));
  }

  backgrounds() {
    return row(...Object.entries(BACKGROUNDS).map(([name, color]) => button(name, () => this.on.background(color))));
  }

  clips(clips) {
    this.play = button("Play", () => this.on.play());
    this.play.id = "play";
    const choice = element("select", { id: "clip", ariaLabel: "Clip" });
    choice.append(...clips.map((clip, index) => new Option(readable(clip.name), index)));
    choice.addEventListener("change", () => this.on.clip(Number(choice.value)));
    const [line, input] = slider("Time", 0, 1, (share) => this.on.seek(share));
    this.time = input;
    this.rate = element("output", { id: "rate" });
    return clips.length ? [this.play, choice, line, this.rate] : [this.rate];
  }

  /** Show a pose on the sliders. */
  show({ expression, neck }) {
    this.sliders.forEach((input, index) => { input.value = expression[index]; });
    this.turns.forEach((input, axis) => { input.value = (neck[axis] * 180) / Math.PI; });
  }

  showPlayback(playing, share) {
    this.play.textContent = playing ? "Pause" : "Play";
    this.time.value = share;
  }
}

/** mouthSmileLeft -> "mouth smile left", look_around -> "look around". */
function readable(name) {
  return name.replace(/_/g, " ").replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}

function element(tag, properties = {}) {
  return Object.assign(document.createElement(tag), properties);
}

function button(text, pressed) {
  const made = element("button", { type: "button", textContent: text });
  made.addEventListener("click", pressed);
  return made;
}

function row(...children) {
  const made = element("div", { className: "row" });
  made.append(...children);
  return made;
}

function section(title, lines) {
  const made = element("details", { open: OPEN_AT_FIRST.has(title) });
  made.append(element("summary", { textContent: title }), ...lines);
  return made;
}

function slider(name, min, max, moved) {
  const line = element("label");
  const input = element("input", { type: "range", min, max, step: (max - min) / 200, value: 0 });
  input.addEventListener("input", () => moved(Number(input.value)));
  line.append(element("span", { textContent: name }), input);
  return [line, input];
}
