/** How the gateway is reached. */
export interface ClientOptions {
  /** Where the gateway is, such as `https://api.example.com`; by default the page's own origin. */
  baseUrl?: string | URL;
  /** Sends the requests; by default the global `fetch`. */
  fetch?: typeof fetch;
  /** Header fields of every request, or what returns them, such as a token that may change. */
  headers?: HeadersInit | (() => HeadersInit | Promise<HeadersInit>);
  /** Whether cookies are sent to another origin; as in `fetch`. */
  credentials?: RequestCredentials;
  /** The most requests of one batch, as in the gateway's `web.batch.max_requests`; 20 by default. */
  maxBatch?: number;
}

/** What a request for a dashboard is made of, without its types. */
export interface Target {
  path?: Record<string, unknown> | undefined;
  query?: Record<string, unknown> | undefined;
  sections?: readonly string[] | undefined;
  signal?: AbortSignal | undefined;
  headers?: HeadersInit | undefined;
}

/** Returns the path and query of a request: `/users/{id}` becomes `/users/1?sections=profile`. */
export function pathOf(template: string, target: Target): string {
  const path = template.replace(/\{([^{}]+)\}/g, (_, name: string) => {
    const value = target.path?.[name];
    if (value === undefined || value === null || value === "") {
      throw new TypeError(`the path parameter ${name} is missing`);
    }
    const text = String(value);
    if (text === "." || text === "..") throw new TypeError(`${text} cannot be a part of a path`);
    return encodeURIComponent(text);
  });
  const query: string[] = [];
  for (const [name, value] of Object.entries(target.query ?? {})) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null) {
        query.push(`${encodeURIComponent(name)}=${encodeURIComponent(String(one))}`);
      }
    }
  }
  if (target.sections !== undefined) {
    query.push(`sections=${target.sections.map(encodeURIComponent).join(",")}`);
  }
  return query.length > 0 ? `${path}?${query.join("&")}` : path;
}

/** Sends requests to one gateway. */
export class Sender {
  readonly #base: string;
  readonly #options: ClientOptions;

  constructor(options: ClientOptions) {
    this.#base = String(options.baseUrl ?? "").replace(/\/+$/, "");
    this.#options = options;
  }

  /** Sends one request; the arguments of `fetch`, but `path` is below the base URL. */
  async send(path: string, init: RequestInit, more?: HeadersInit | undefined): Promise<Response> {
    const { headers, credentials } = this.#options;
    const fields = new Headers(typeof headers === "function" ? await headers() : headers);
    for (const given of [init.headers, more]) {
      new Headers(given).forEach((value, name) => fields.set(name, value));
    }
    // Looked up at each request, so that what replaces `fetch` later is used.
    const send = this.#options.fetch ?? globalThis.fetch;
    return await send(this.#base + path, {
      ...init,
      headers: fields,
      ...(credentials !== undefined && { credentials }),
    });
  }
}
