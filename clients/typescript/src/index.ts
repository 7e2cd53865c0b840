export { Client, createClient } from "./client.js";
export { fold, nothing, type AnyEvent, type Folded } from "./fold.js";
export type { LiveOptions } from "./live.js";
export { InterruptedError, ProblemError, type Problem } from "./problem.js";
export type { ClientOptions } from "./request.js";
export { EventStreamParser, type ServerSentEvent } from "./sse.js";
export { DashboardStream, type PartialDocument } from "./stream.js";
export type {
  AnyDocument,
  DashboardOptions,
  DashboardPath,
  DocumentOf,
  EventOf,
  RequestOptions,
  SectionError,
  SectionMeta,
  SectionOf,
  Selected,
} from "./types.js";
