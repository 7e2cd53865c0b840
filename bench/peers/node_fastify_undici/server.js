// Node: fastify in front, undici's pool behind, JSON parsed and written again.
import Fastify from 'fastify';
import { Pool } from 'undici';

const pool = new Pool(process.env.BENCH_UPSTREAM, { connections: 256 });
const dashboards = JSON.parse(process.env.BENCH_DASHBOARDS);
const app = Fastify();

async function get(path) {
  const { statusCode, body } = await pool.request({ path, method: 'GET' });
  if (statusCode !== 200) throw new Error(`${path}: ${statusCode}`);
  return body.json();
}

for (const [name, sections] of Object.entries(dashboards)) {
  const names = Object.keys(sections);
  const paths = Object.values(sections);
  app.get(`/${name}`, async () => {
    const values = await Promise.all(paths.map(get));
    const data = {};
    names.forEach((section, i) => { data[section] = values[i]; });
    return { data };
  });
}

await app.listen({ port: Number(process.env.BENCH_PORT), host: '127.0.0.1' });
