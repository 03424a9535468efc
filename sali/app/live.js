// Asks for news, shows them, asks again: what comes faster than it is shown is passed over.
const find = (selector) => element.querySelector(selector);
const DASH = "–";
const STATES = {
  idle: "Pick a clip and press Start.",
  waiting: "Waiting",
  loading: "Loading the model",
  running: "Running",
  paused: "Paused",
  finished: "Finished",
  cancelled: "Cancelled",
  failed: "Stopped",
};
const ENDS = ["finished", "cancelled", "failed"];
let token = "";
let shownAt = [];
let lastState = "";

function write(selector, text) {
  const place = find(selector);
  if (place && place.textContent !== text) place.textContent = text;
}

function stateLine(news) {
  let line = STATES[news.state];
  if (news.state === "waiting" && news.position) line += `: number ${news.position} in the line`;
  if (news.clip) line += ` · ${news.clip}`;
  if (ENDS.includes(news.state)) line += ` · ${news.done} frames`;
  if (news.unreadable) line += ` · ${news.unreadable} not readable`;
  if (news.export) line += ` · ${news.export}`;
  return line;
}

function tell(message) {
  const place = find(".sali-message");
  place.hidden = !message;
  write(".sali-message", message);
}

function showWords(news) {
  write(".sali-state", stateLine(news));
  tell(news.message);
  const bar = find(".sali-progress");
  const whole = news.state === "finished";
  bar.hidden = news.state === "idle";
  bar.value = whole ? 1 : news.length ? Math.min(1, news.done / news.length) : 0;
  find(".sali-download").disabled = !news.downloadable || Boolean(news.export);
}

function showReads(reads) {
  const list = find(".sali-reads");
  while (list.children.length > reads.length) list.lastChild.remove();
  while (list.children.length < reads.length) {
    const item = document.createElement("li");
    for (const part of ["img", "strong", "span"]) item.append(document.createElement(part));
    list.append(item);
  }
  reads.forEach((read, i) => {
    const [picture, share, label] = list.children[i].children;
    picture.src = read.picture;
    picture.alt = `${read.label}, ${read.share} of the read`;
    share.textContent = read.share;
    label.textContent = read.label;
  });
}

function countShown(ready) {
  const now = performance.now();
  shownAt.push(now);
  shownAt = shownAt.slice(-30);
  const span = now - shownAt[0];
  const running = lastState === "running";
  if (running && shownAt.length > 1) {
    const rate = ((1000 * (shownAt.length - 1)) / span).toFixed(1);
    write('[data-number="shown"]', `${rate} / s`);
    element.dataset.delays += `${Math.round(Date.now() - 1000 * ready)} `;
  }
}

async function showFrame(shown) {
  const frame = find(".sali-frame");
  frame.hidden = !shown;
  find(".sali-empty").hidden = Boolean(shown);
  if (!shown) {
    element.querySelectorAll("[data-number]").forEach((place) => (place.textContent = DASH));
    showReads([]);
    shownAt = [];
    return;
  }
  const next = new Image();
  next.src = shown.picture;
  if (!document.hidden) await next.decode();
  frame.src = shown.picture;
  frame.alt = shown.alt;
  for (const [name, text] of Object.entries({ ...shown.numbers, area: shown.area })) {
    write(`[data-number="${name}"]`, text || DASH);
  }
  showReads(shown.reads);
  countShown(shown.ready);
}

async function follow(mine) {
  let after = 0;
  element.dataset.delays = "";
  while (token === mine) {
    try {
      const answer = await fetch(`live/${mine}/news?after=${after}`, { cache: "no-store" });
      const news = await answer.json();
      if (answer.status === 410 || news.closed) {
        tell(news.message || "This page was closed; reload it.");
        return;
      }
      if (news.version === after) continue;
      after = news.version;
      if (news.state !== lastState) shownAt = [];
      const turned = news.state !== lastState;
      lastState = news.state;
      showWords(news);
      if (news.shown !== undefined) await showFrame(news.shown);
      element.dataset.state = news.state;
      element.dataset.threshold = news.threshold;
      if (turned) trigger("turned");
    } catch (error) {
      write(".sali-state", "The server does not answer; trying again");
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
}

async function download() {
  const answer = await fetch(`live/${token}/export`, { method: "POST" });
  const made = await answer.json();
  if (!answer.ok) return tell(made.message);
  const link = document.createElement("a");
  link.href = `live/${token}/${made.file.split("/").map(encodeURIComponent).join("/")}`;
  link.download = made.file.split("/").pop();
  link.click();
}

function begin() {
  if (!props.value || props.value === token) return;
  token = props.value;
  lastState = "";
  follow(token);
}

element.addEventListener("click", (event) => {
  if (event.target.closest(".sali-download")) download();
});
window.addEventListener("pagehide", () => token && navigator.sendBeacon(`live/${token}/close`));
window.addEventListener("pageshow", (event) => event.persisted && location.reload());
watch("value", begin);
begin();
