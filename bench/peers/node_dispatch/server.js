// Node without a framework: node:http in front, undici's `pool.dispatch` behind, which has neither
// streams nor promises. JSON parsed and written again.
import { createServer } from 'node:http';
import { Pool } from 'undici';

const pool = new Pool(process.env.BENCH_UPSTREAM, { connections: 256 });
const dashboards = new Map();
for (const [name, sections] of Object.entries(JSON.parse(process.env.BENCH_DASHBOARDS))) {
  dashboards.set(`/${name}`, Object.entries(sections));
}

// One upstream call: collects the body and reports the parsed value to its dashboard.
class Call {
  constructor(dashboard, section, path) {
    this.dashboard = dashboard;
    this.section = section;
    this.path = path;
    this.status = 0;
    this.chunks = [];
  }

  onConnect() {}

  onHeaders(status) {
    this.status = status;
    return true;
  }

  onData(chunk) {
    this.chunks.push(chunk);
    return true;
  }

  onComplete() {
    const { chunks } = this;
    if (this.status !== 200) {
      this.onError(new Error(`${this.path}: ${this.status}`));
      return;
    }
    let value;
    try {
      value = JSON.parse(chunks.length === 1 ? chunks[0] : Buffer.concat(chunks));
    } catch (error) {
      this.onError(error);
      return;
    }
    this.dashboard.landed(this.section, value);
  }

  onError(error) {
    this.dashboard.failed(error);
  }
}

// One request of a client: starts its calls and answers when the last has landed.
class Dashboard {
  constructor(sections, response) {
    this.response = response;
    this.left = sections.length;
    this.data = {};
    for (const [section, path] of sections) this.data[section] = null; // in the declared order
    for (const [section, path] of sections) {
      pool.dispatch({ path, method: 'GET' }, new Call(this, section, path));
    }
  }

  landed(section, value) {
    this.data[section] = value;
    this.left -= 1;
    if (this.left === 0) this.answer(200, { data: this.data });
  }

  failed(error) {
    this.answer(502, { error: error.message });
  }

  answer(status, value) {
    if (this.response.headersSent) return;
    const body = Buffer.from(JSON.stringify(value));
    const head = { 'content-type': 'application/json', 'content-length': body.length };
    this.response.writeHead(status, head).end(body);
  }
}

const server = createServer((request, response) => {
  const sections = dashboards.get(request.url);
  if (sections === undefined) {
    response.writeHead(404, { 'content-length': 0 }).end();
    return;
  }
  new Dashboard(sections, response);
});
server.keepAliveTimeout = 75_000;
server.listen({ port: Number(process.env.BENCH_PORT), host: '127.0.0.1', backlog: 4096 });
