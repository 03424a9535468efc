// The player. `show` is the only place that moves anything: picture, outlines, chart, text and
// scrubber are always of one frame.

const TRUTH = { colour: "#ffd640", dash: "7 4" };
// Of a method in pictures, and in charts, whose colours follow the look of the page: one hue.
const METHODS = [
  { colour: "#40e0ff", dash: "", inChart: "var(--c0)" },
  { colour: "#ff9ad5", dash: "10 3", inChart: "var(--c4)" },
  { colour: "#a6ff7a", dash: "3 3", inChart: "var(--c2)" },
  { colour: "#ffb27a", dash: "10 3 3 3", inChart: "var(--c3)" },
];
const methodLook = (number) => METHODS[number % METHODS.length];
// Of runs of bad frames, by what is bad.
const RUNS = { quality: { fill: "url(#hatching)" }, dice: { class: "band-dice" } };
const CHART = { height: 190, left: 40, right: 10, top: 8, bottom: 34 };

class Player {
  constructor(table) {
    this.table = table;
    this.clip = null;
    this.position = 0;
    this.timer = null;
    this.opening = 0;
    this.hidden = new Set();
    this.rows = new Map([...table.tBodies[0].rows].map((row) => [nameOf(row), row]));
    table.addEventListener("click", (event) => this.clicked(event));
    on("previous", "click", () => this.neighbour(-1));
    on("next", "click", () => this.neighbour(1));
    on("play", "click", () => this.toggle());
    on("speed", "change", () => this.timer && (this.pause(), this.play()));
    on("scrubber", "input", (event) => this.stopAt(Number(event.target.value)));
    on("player", "keydown", (event) => this.pressed(event));
    on("time-chart", "click", (event) => this.pointed(event));
    new ResizeObserver(() => this.clip && this.drawChart()).observe(byId("time-chart").parentNode);
    addEventListener("hashchange", () => this.follow());
    this.follow();
  }

  clicked(event) {
    const row = event.target.closest("tbody tr");
    if (!row || event.target.closest("a")) return; // links change the hash by themselves
    location.hash = row.querySelector("a").hash;
  }

  follow() {
    const match = location.hash.match(/^#clip=([^&]*)(?:&frame=(\d+))?$/);
    if (!match) return;
    const name = decodeURIComponent(match[1]);
    const row = this.rows.get(name);
    if (row) this.open(row, match[2] === undefined ? 0 : Number(match[2]));
    else {
      byId("player-empty").hidden = false;
      byId("player-empty").textContent = `There is no clip ${name} in this report.`;
    }
  }

  async open(row, frame) {
    this.pause();
    const turn = ++this.opening;
    const clip = JSON.parse(byId(`clip-${row.dataset.index}`).textContent);
    const film = clip.film;
    const pictures = await Promise.all((film?.frames ?? []).map(async (one) => {
      if (!one.picture) return null;
      const image = new Image();
      image.src = `data:image/jpeg;base64,${one.picture}`;
      await image.decode();
      return image;
    }));
    if (turn !== this.opening) return; // another one was chosen meanwhile
    Object.assign(this, { clip, row, pictures });
    this.places = film ? film.frames.map((one) => one.index) : clip.frames.map((_, index) => index);
    byId("player-empty").hidden = true;
    byId("player-body").hidden = false;
    byId("clip-name").textContent = `${clip.subset}/${clip.clip}`;
    byId("screen").hidden = !film;
    byId("no-picture").hidden = Boolean(film);
    byId("play").disabled = byId("scrubber").disabled = this.places.length < 2;
    byId("scrubber").max = Math.max(0, this.places.length - 1);
    for (const other of this.rows.values()) other.removeAttribute("aria-current");
    row.setAttribute("aria-current", "true");
    row.scrollIntoView({ block: "nearest" });
    const order = this.order();
    byId("previous").disabled = order.indexOf(row) <= 0;
    byId("next").disabled = order.indexOf(row) === order.length - 1;
    if (film) {
      byId("picture").width = film.width;
      byId("picture").height = film.height;
      set(byId("outlines"), { viewBox: `0 0 ${film.width} ${film.height}` });
    }
    this.listToggles();
    this.listRuns();
    this.drawChart();
    this.show(this.nearest(frame));
    byId("stage").focus({ preventScroll: true });
    byId("player").scrollIntoView({ block: "start" });
  }

  order() {
    return [...this.table.tBodies[0].rows].filter((row) => !row.hidden || row === this.row);
  }

  neighbour(step) {
    const order = this.order();
    const row = order[order.indexOf(this.row) + step];
    if (row) location.hash = row.querySelector("a").hash;
  }

  nearest(frame) {
    const nearer = (a, b) => (Math.abs(b - frame) < Math.abs(a - frame) ? b : a);
    return Math.max(0, this.places.indexOf(this.places.reduce(nearer, this.places[0])));
  }

  stopAt(position) {
    this.pause();
    this.show(position);
  }

  show(position) {
    const { clip, places } = this;
    if (!places.length) {
      byId("readout").textContent = "Nothing is known of the single frames of this clip.";
      return;
    }
    this.position = Math.min(Math.max(position, 0), places.length - 1);
    const index = places[this.position];
    byId("scrubber").value = this.position;
    byId("scrubber").setAttribute("aria-valuetext", `frame ${index}, ${clip.frames[index] ?? ""}`);
    this.drawPicture(index);
    this.moveCursor(index);
    byId("readout").textContent = this.told(index);
    if (!this.timer) this.remember(index);
  }

  remember(index) {
    const name = encodeURIComponent(`${this.clip.subset}/${this.clip.clip}`).replaceAll("%2F", "/");
    history.replaceState(null, "", `#clip=${name}&frame=${index}`);
  }

  told(index) {
    const { clip } = this;
    const film = clip.film;
    const total = film ? film.num_frames : clip.frames.length;
    const parts = [`Frame ${index} (0 to ${total - 1})`];
    if (clip.frames[index] !== undefined) parts.push(clip.frames[index]);
    const several = clip.methods.length > 1;
    for (const method of clip.methods) {
      const dice = clip.dice[method][index]?.toFixed(4) ?? "-";
      const marked = clip.marked[method][index] ?? null;
      const area = marked === null ? "" : `, marked ${marked} px`;
      parts.push(`${several ? `${method}: ` : ""}${clip.metric} ${dice}${area}`);
    }
    const polyp = clip.polyp[index];
    if (polyp === 0) parts.push("no polyp");
    else if (polyp) parts.push(`polyp ${polyp} px`);
    if (film && film.frames[this.position].truth === null) parts.push("nobody annotated it");
    for (const run of clip.runs) if (index >= run.start && index < run.stop) parts.push(run.text);
    if (film && film.every > 1) parts.push(`pictures of 1 frame in ${film.every}`);
    return parts.join(" · ");
  }

  shownMethods() {
    return this.clip.film ? Object.keys(this.clip.film.frames[0].predictions) : [];
  }

  drawPicture(index) {
    const film = this.clip.film;
    if (!film) return;
    const frame = film.frames[this.position];
    const canvas = byId("picture");
    const brush = canvas.getContext("2d");
    brush.fillStyle = "#3a3f45";
    brush.fillRect(0, 0, film.width, film.height);
    if (this.pictures[this.position]) {
      brush.drawImage(this.pictures[this.position], 0, 0, film.width, film.height);
    }
    canvas.dataset.index = index;
    const name = this.clip.frames[index] ?? `frame ${index}`;
    canvas.setAttribute("aria-label", frame.picture ? `Frame ${name}` : `Frame ${name}, which cannot be shown`);
    const shapes = [];
    const draw = (outlines, look, key) => {
      if (!outlines?.length || this.hidden.has(key)) return;
      const path = outlines.map(outline).join("");
      if (key !== "truth" && !this.hidden.has("tint")) {
        shapes.push(make("path", { class: "tint", d: path, fill: look.colour, "fill-rule": "evenodd" }));
      }
      shapes.push(make("path", { class: "halo", d: path }));
      shapes.push(make("path", {
        class: "outline", d: path, stroke: look.colour, "stroke-dasharray": look.dash, "data-of": key,
      }));
    };
    this.shownMethods().forEach((method, number) => {
      draw(frame.predictions[method], methodLook(number), `of ${method}`);
    });
    draw(frame.truth, TRUTH, "truth");
    byId("outlines").replaceChildren(...shapes);
    byId("outlines").dataset.index = index;
  }

  listToggles() {
    const box = byId("toggles");
    box.replaceChildren(box.querySelector("legend"));
    box.hidden = !this.clip.film;
    if (!this.clip.film) return;
    const add = (key, text, look) => {
      const input = make("input", { type: "checkbox", "data-key": key });
      input.checked = !this.hidden.has(key);
      input.addEventListener("change", () => {
        if (input.checked) this.hidden.delete(key);
        else this.hidden.add(key);
        this.drawPicture(this.places[this.position]);
      });
      const line = look && { class: "outline", d: "M3 7H31", stroke: look.colour, "stroke-dasharray": look.dash };
      box.append(make("label", {}, input, ...(look ? [swatch("sample", 14, line)] : []), text));
    };
    add("truth", "ground truth", TRUTH);
    this.shownMethods().forEach((method, number) => {
      add(`of ${method}`, method, methodLook(number));
    });
    add("tint", "tint of the marked area", null);
  }

  listRuns() {
    byId("runs").hidden = !this.clip.runs.length;
    byId("run-list").replaceChildren(...this.clip.runs.map((run) => {
      const text = `${run.start} to ${run.stop - 1}: ${run.text}`;
      const button = make("button", { type: "button" }, text);
      button.addEventListener("click", () => this.stopAt(this.nearest(run.start)));
      return make("li", {}, button);
    }));
  }

  // The chart is drawn in pixels of the screen, so that its text keeps its size on a phone.
  drawChart() {
    const { clip } = this;
    const chart = byId("time-chart");
    const number = clip.frames.length;
    chart.parentNode.hidden = !number;
    if (!number) return;
    const width = Math.max(260, Math.round(chart.parentNode.clientWidth));
    const { height, left, right, top, bottom } = CHART;
    const floor = height - bottom;
    chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.across = (index) => left + ((index + 0.5) / number) * (width - left - right);
    this.frameAt = (x) => Math.floor(((x - left) / (width - left - right)) * number);
    const down = (dice) => top + (1 - dice) * (floor - top);
    const edge = (index) => this.across(index - 0.5);
    const shapes = [];
    const draw = (tag, attributes, ...text) => shapes.push(make(tag, attributes, ...text));
    const band = (start, stop, y, tall, look) => {
      draw("rect", { x: edge(start), y, width: edge(stop) - edge(start), height: tall, ...look });
    };
    for (const run of clip.runs) band(run.start, run.stop, top, floor - top, RUNS[run.kind]);
    for (const dice of [0, 0.25, 0.5, 0.75, 1]) {
      draw("path", { class: "rule", d: `M${left} ${down(dice)}H${width - right}` });
      draw("text", { class: "tick", x: left - 6, y: down(dice) + 4, "text-anchor": "end" }, dice);
    }
    clip.polyp.forEach((size, index) => {
      if (size !== 0 || (index && clip.polyp[index - 1] === 0)) return;
      const length = clip.polyp.slice(index).findIndex((other) => other !== 0);
      band(index, length < 0 ? number : index + length, floor - 4, 4, { class: "band-free" });
    });
    const step = niceStep(number / Math.max(2, width / 90));
    for (let index = 0; index < number; index += step) {
      draw("text", { class: "tick", x: this.across(index), y: floor + 16, "text-anchor": "middle" }, index);
    }
    draw("path", { class: "axis", d: `M${left} ${floor}H${width - right}` });
    clip.methods.forEach((method, which) => {
      const values = clip.dice[method];
      const { inChart, dash } = methodLook(which);
      let path = "";
      values.forEach((dice, index) => {
        if (dice === null) return;
        const isOpen = index > 0 && values[index - 1] !== null;
        path += `${isOpen ? "L" : "M"}${this.across(index).toFixed(1)} ${down(dice).toFixed(1)}`;
        const isAlone = !isOpen && (values[index + 1] ?? null) === null;
        if (isAlone || number <= 60) {
          draw("circle", { class: "mark", fill: inChart, cx: this.across(index), cy: down(dice), r: 2.6 });
        }
      });
      draw("path", { class: "line", stroke: inChart, d: path, "stroke-dasharray": dash });
    });
    this.cursor = make("line", { class: "cursor", id: "cursor", y1: top, y2: floor + 3 });
    this.dots = clip.methods.map((_, which) => make("circle", { class: "mark", fill: methodLook(which).inChart, r: 5 }));
    this.down = down;
    chart.replaceChildren(...shapes, this.cursor, ...this.dots);
    byId("chart-title").textContent = `${clip.metric} over the frames of ${clip.clip}`;
    this.listLegend();
    if (this.places.length) this.moveCursor(this.places[this.position] ?? 0);
  }

  listLegend() {
    const { clip } = this;
    const items = clip.methods.map((method, which) => [
      { class: "line", d: "M1 5H33", stroke: methodLook(which).inChart, "stroke-dasharray": methodLook(which).dash },
      clip.methods.length > 1 ? method : clip.metric,
    ]);
    const kinds = new Map(clip.runs.map((run) => [run.text, run.kind]));
    for (const [text, kind] of kinds) {
      const look = { d: "M1 0H33V10H1Z", ...RUNS[kind] };
      items.push([look, `${kind === "quality" ? "hatched" : "shaded"}: ${text}`]);
    }
    if (clip.polyp.includes(0)) items.push([{ d: "M1 3H33V7H1Z", class: "band-free" }, "bar below: no polyp"]);
    byId("time-legend").replaceChildren(
      ...items.map(([look, text]) => make("li", {}, swatch("swatch", 10, look), text)),
    );
  }

  moveCursor(index) {
    if (!this.clip.frames.length) return;
    const x = this.across(index);
    set(this.cursor, { x1: x, x2: x, "data-index": index });
    this.clip.methods.forEach((method, which) => {
      const dice = this.clip.dice[method][index] ?? null;
      const place = { cx: x, cy: dice === null ? 0 : this.down(dice) };
      set(this.dots[which], { ...place, visibility: dice === null ? "hidden" : "visible" });
    });
  }

  pointed(event) {
    const box = byId("time-chart").getBoundingClientRect();
    const width = byId("time-chart").viewBox.baseVal.width;
    this.stopAt(this.nearest(this.frameAt(((event.clientX - box.left) / box.width) * width)));
  }

  pressed(event) {
    const isField = event.target.matches("input[type=range], select");
    const isButton = event.target.matches("button, input, select");
    if (!this.clip || event.ctrlKey || event.metaKey || event.altKey) return;
    const last = this.places.length - 1;
    const moves = { ArrowLeft: this.position - 1, ArrowRight: this.position + 1, Home: 0, End: last };
    if (event.key in moves && !isField) this.stopAt(moves[event.key]);
    else if (event.key === " " && !isButton) this.toggle();
    else if (event.key === "PageUp" && !isField) this.neighbour(-1);
    else if (event.key === "PageDown" && !isField) this.neighbour(1);
    else return;
    event.preventDefault();
  }

  toggle() {
    if (this.timer) this.pause();
    else this.play();
  }

  play() {
    if (this.places.length < 2) return;
    this.say("Pause", true);
    const milliseconds = 1000 / Number(byId("speed").value);
    this.timer = setInterval(() => this.show((this.position + 1) % this.places.length), milliseconds);
  }

  pause() {
    if (!this.timer) return;
    clearInterval(this.timer);
    this.timer = null;
    this.say("Play", false);
    this.remember(this.places[this.position]);
  }

  say(text, isPlaying) {
    byId("play").textContent = text;
    set(byId("play"), { "aria-pressed": isPlaying });
    set(byId("readout"), { "aria-live": isPlaying ? "off" : "polite" }); // or it reads out every frame
  }
}

function swatch(name, height, look) {
  const box = { class: name, viewBox: `0 0 34 ${height}`, "aria-hidden": "true" };
  return make("svg", box, make("path", look));
}

function outline(points) {
  let path = "";
  for (let i = 0; i < points.length; i += 2) {
    path += `${i ? "L" : "M"}${points[i] + 0.5} ${points[i + 1] + 0.5}`; // middles of pixels
  }
  return `${path}Z`;
}

function niceStep(least) {
  const size = 10 ** Math.floor(Math.log10(Math.max(1, least)));
  return [1, 2, 5, 10].map((m) => m * size).find((step) => step >= least) ?? 10 * size;
}

const list = byId("clip-list");
if (list) {
  startTable(list);
  new Player(list);
}
