// The demo's page: lists the dashboards of the OpenAPI document and draws one as its sections land.

const byId = (id) => document.getElementById(id);

/** Returns an element with attributes, classes and children; text is never read as HTML. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// The dashboards

/** Returns the dashboards that an OpenAPI document describes. */
function dashboardsOf(api) {
  const schemaOf = (reference = "") => api.components.schemas[reference.split("/").pop()] ?? {};
  return Object.entries(api.paths).flatMap(([path, { get }]) => {
    const content = get?.responses["200"]?.content ?? {};
    const answer = schemaOf(content["application/json"]?.schema?.$ref).properties;
    if (!answer?.data || !answer.meta) return [];
    const sections = Object.keys(schemaOf(answer.data.$ref).properties ?? {});
    const parameters = get.parameters ?? [];
    return [{
      path,
      summary: get.summary,
      sections,
      selects: parameters.some((one) => one.name === "sections"),
      parameters: parameters.filter((one) => one.name !== "sections"),
    }];
  });
}

/** Returns what a parameter is at first, as text. */
function initial({ schema }) {
  const value = schema.default ?? schema.examples?.[0] ?? schema.minimum ?? "";
  return Array.isArray(value) ? value.join(", ") : String(value);
}

/** Returns the values that a text stands for: one, or several separated by commas. */
function valuesOf({ schema }, text) {
  const texts = schema.type === "array" ? text.split(",") : [text];
  return texts.map((one) => one.trim()).filter((one) => one !== "");
}

// The request

let current; // the dashboard that is shown
let running; // aborts the request that is under way

function urlOf() {
  const query = [];
  let path = current.path;
  for (const parameter of current.parameters) {
    const values = valuesOf(parameter, byId(`field-${parameter.name}`).value);
    if (parameter.in === "path") {
      path = path.replace(`{${parameter.name}}`, encodeURIComponent(values[0] ?? ""));
    } else if (parameter.in === "query") {
      query.push(...values.map((one) => `${parameter.name}=${encodeURIComponent(one)}`));
    }
  }
  const wanted = wantedSections();
  if (wanted.length < current.sections.length && wanted.length > 0) {
    query.push(`sections=${wanted.join(",")}`);
  }
  return query.length > 0 ? `${path}?${query.join("&")}` : path;
}

/** Returns the path as a link below wherever this page is. */
const linkOf = (url) => url.replace(/^\//, "");

function wantedSections() {
  const checked = [...byId("chips").querySelectorAll("input:checked")].map((one) => one.value);
  return checked.length > 0 ? checked : current.sections;
}

function showUrl() {
  byId("url").textContent = urlOf();
  byId("open").href = linkOf(urlOf());
}

function choose(dashboard, button) {
  current = dashboard;
  for (const one of document.querySelectorAll(".dashboards button")) {
    one.setAttribute("aria-current", String(one === button));
  }
  byId("fields").replaceChildren(
    ...dashboard.parameters.map((parameter) => {
      const id = `field-${parameter.name}`;
      const input = make("input", { id, autocomplete: "off", spellcheck: "false" });
      if (parameter.schema.type === "array") input.className = "wide";
      input.value = initial(parameter);
      return make("label", { for: id, title: parameter.description ?? "" }, parameter.name, input);
    }),
  );
  const chips = dashboard.selects && dashboard.sections.length > 1 ? dashboard.sections : [];
  byId("chips").replaceChildren(
    ...chips.map((name) => {
      const input = make("input", { type: "checkbox", value: name, checked: "" });
      return make("label", {}, input, name);
    }),
  );
  void run();
}

// The answer

/** Yields the events of an answer; a document is the events that it would have been. */
async function* eventsOf(response) {
  if (!response.headers.get("content-type")?.startsWith("application/jsonl")) {
    const { data, errors, meta } = await response.json();
    for (const [section, value] of Object.entries(data)) {
      const own = errors.filter((error) => error.section === section);
      yield { event: "section", section, data: value, meta: meta.sections[section], errors: own };
    }
    yield { event: "complete", errors, meta };
    return;
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line !== "") yield JSON.parse(line);
  }
}

async function run() {
  running?.abort();
  const controller = (running = new AbortController());
  showUrl();
  const drawing = new Drawing(wantedSections());
  try {
    const response = await fetch(linkOf(urlOf()), {
      headers: { accept: "application/jsonl, application/json;q=0.9" },
      signal: controller.signal,
    });
    if (!response.ok) {
      drawing.fail(await response.json());
      return;
    }
    for await (const event of eventsOf(response)) drawing.take(event);
  } catch (error) {
    if (!controller.signal.aborted) drawing.fail({ title: "No answer", detail: error.message });
  } finally {
    drawing.stop();
  }
}

/** The rows of one answer, from its request on. */
class Drawing {
  constructor(names) {
    this.began = performance.now();
    this.rows = new Map(names.map((name) => [name, new Row(name)]));
    byId("sections").replaceChildren(...[...this.rows.values()].map((row) => row.element));
    this.say("Waiting for the first section…");
    this.tick = this.tick.bind(this);
    this.frame = requestAnimationFrame(this.tick);
  }

  get elapsed() {
    return performance.now() - this.began;
  }

  take(event) {
    const row = this.rows.get(event.section);
    if (event.event === "section") {
      row?.land(event, this.elapsed);
      const landed = [...this.rows.values()].filter((one) => one.landed !== undefined).length;
      this.say(`${landed} of ${this.rows.size} sections after ${milliseconds(this.elapsed)}…`);
    } else if (event.event === "element") row?.add(this.elapsed);
    else if (event.event === "complete") this.complete(event);
    else if (event.event === "problem") this.fail(event);
    this.scale();
  }

  complete({ errors, meta }) {
    const whole = meta.complete ? "Complete" : "Complete with gaps";
    const count = errors.length > 0 ? `, ${errors.length} ${errors.length > 1 ? "errors" : "error"}` : "";
    this.say(`${whole} after ${milliseconds(this.elapsed)}${count}.`);
  }

  fail({ status, title, detail }) {
    this.say(`${status ?? ""} ${title}: ${detail}`.trim(), true);
    for (const row of this.rows.values()) row.drop();
    this.stop();
  }

  say(text, problem = false) {
    byId("summary").textContent = text;
    byId("summary").classList.toggle("problem", problem);
  }

  /** Draws all bars on one scale, which ends with the latest landing or now. */
  scale() {
    const rows = [...this.rows.values()];
    const latest = Math.max(...rows.map((row) => row.landed ?? (row.dropped ? 0 : this.elapsed)), 1);
    for (const row of rows) row.draw((row.landed ?? (row.dropped ? 0 : this.elapsed)) / latest);
  }

  tick() {
    this.scale();
    for (const row of this.rows.values()) row.wait(this.elapsed);
    this.frame = requestAnimationFrame(this.tick);
  }

  stop() {
    cancelAnimationFrame(this.frame);
    this.scale();
  }
}

/** The row of one section. */
class Row {
  constructor(name) {
    this.elements = 0;
    this.state = make("span", { class: "state" });
    this.bar = make("div", { class: "bar" });
    this.time = make("span", { class: "time" });
    this.body = make("div");
    this.element = make(
      "li",
      { class: "section waiting" },
      make(
        "div",
        { class: "row" },
        make("span", { class: "name" }, name, this.state),
        make("div", { class: "track" }, this.bar),
        this.time,
      ),
      this.body,
    );
    this.state.hidden = true;
  }

  /** Shows an element that has landed before its section. */
  add() {
    this.elements += 1;
    this.body.replaceChildren(make("p", { class: "note" }, `${this.elements} landed so far`));
  }

  land({ data, meta, errors }, elapsed) {
    this.landed = elapsed;
    this.element.className = "section";
    this.state.hidden = false;
    this.state.textContent = meta.state;
    this.state.dataset.state = this.bar.dataset.state = meta.state;
    this.time.textContent = milliseconds(elapsed);
    const notes = [];
    const age = (Date.now() - Date.parse(meta.as_of)) / 1000; // NaN if it does not come from the cache
    if (age >= 2) notes.push(make("p", { class: "note" }, `from the cache, ${Math.round(age)} s old`));
    for (const { code, detail, element } of errors.slice(0, 3)) {
      const at = element === undefined ? "" : `${element}: `;
      notes.push(make("p", { class: "note error" }, `${at}${code}, ${detail}`));
    }
    if (errors.length > 3) {
      notes.push(make("p", { class: "note error" }, `and ${errors.length - 3} more errors`));
    }
    this.body.className = "landed";
    this.body.replaceChildren(...notes, ...(data === null ? [] : [valueOf(data)]));
  }

  drop() {
    if (this.landed !== undefined) return;
    this.dropped = true;
    this.element.className = "section";
    this.time.textContent = "";
  }

  wait(elapsed) {
    if (this.landed === undefined && !this.dropped) this.time.textContent = milliseconds(elapsed);
  }

  draw(share) {
    this.bar.style.width = `${100 * share}%`;
  }
}

function valueOf(data) {
  const text = JSON.stringify(data, null, 2);
  const details = make("details", {}, make("summary", {}, described(data)), make("pre", {}, text));
  details.open = text.length < 240;
  return details;
}

function described(data) {
  if (Array.isArray(data)) return `${data.length} ${data.length === 1 ? "element" : "elements"}`;
  if (typeof data === "object" && data !== null) {
    const names = Object.keys(data);
    const shown = names.slice(0, 5).join(", ");
    return names.length > 5 ? `${shown} and ${names.length - 5} more` : shown;
  }
  return "value";
}

function milliseconds(value) {
  return value < 10 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`;
}

// The page

byId("request").addEventListener("submit", (event) => {
  event.preventDefault();
  void run();
});
byId("request").addEventListener("input", showUrl);
byId("chips").addEventListener("change", () => void run());
byId("copy").addEventListener("click", async () => {
  const url = new URL(linkOf(urlOf()), location.href);
  await navigator.clipboard?.writeText(`curl -N -H 'Accept: text/event-stream' '${url}'`);
  byId("copy").textContent = "Copied";
  setTimeout(() => (byId("copy").textContent = "Copy as curl"), 1500);
});

async function start() {
  const response = await fetch("openapi.json");
  if (!response.ok) throw new Error(`the OpenAPI document is not there (${response.status})`);
  const dashboards = dashboardsOf(await response.json());
  const buttons = dashboards.map((dashboard) => {
    const name = make("strong", {}, dashboard.summary);
    const button = make("button", { type: "button" }, name, make("code", {}, dashboard.path));
    button.addEventListener("click", () => choose(dashboard, button));
    return button;
  });
  byId("dashboards").append(...buttons.map((button) => make("li", {}, button)));
  if (dashboards.length > 0) choose(dashboards[0], buttons[0]);
}

start().catch((error) => {
  byId("summary").textContent = error.message;
  byId("summary").classList.add("problem");
});
