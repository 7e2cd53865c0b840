import type { SectionError } from "./types.js";

/** Problem details (RFC 9457) as the gateway sends them. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  /** Of the required section that failed. */
  code?: string;
  errors?: SectionError[];
  invalid_parameters?: { name: string; detail: string }[];
  /** Number of invalid parameters that are not listed. */
  left_out?: number;
}

/** An answer that is not a document: its status is 4xx or 5xx, or a stream ended with a problem. */
export class ProblemError extends Error {
  override readonly name = "ProblemError";
  readonly status: number;

  /**
   * @param problem The problem; made from the status if the answer has none (a proxy's, for example).
   * @param retryAfter Seconds after which the request may be repeated, if the answer says so.
   */
  constructor(
    readonly problem: Problem,
    readonly retryAfter?: number,
  ) {
    super(`${problem.status} ${problem.title}: ${problem.detail}`);
    this.status = problem.status;
  }

  /** Whether the same request may succeed later. */
  get retryable(): boolean {
    return [408, 429, 502, 503, 504].includes(this.status);
  }
}

/** A stream ended before its document was complete. */
export class InterruptedError extends Error {
  override readonly name = "InterruptedError";
}

/** Returns the error of an answer that is not 2xx. */
export async function refusal(response: Response): Promise<ProblemError> {
  let found: unknown;
  try {
    found = await response.json();
  } catch {
    found = undefined; // not the gateway's own
  }
  return problemOf(found, response.status, response.statusText, retryAfter(response.headers));
}

/** Returns the error of a problem that may be anything. */
export function problemOf(
  found: unknown,
  status: number,
  title = "",
  after?: number | undefined,
): ProblemError {
  const said = typeof found === "object" && found !== null ? (found as Partial<Problem>) : {};
  const problem: Problem = {
    type: "about:blank",
    title: title || "Error",
    detail: "the answer has no problem document",
    ...said,
    status: typeof said.status === "number" ? said.status : status,
  };
  return after === undefined ? new ProblemError(problem) : new ProblemError(problem, after);
}

function retryAfter(headers: Headers): number | undefined {
  const text = headers.get("retry-after");
  return text !== null && /^\d+$/.test(text) ? Number(text) : undefined;
}
