/**
 * Types over the `paths` that `openapi-typescript` generates from `gateway openapi`.
 *
 * Nothing here exists at run time.
 */

/** Why a section, or an element of it, has no value of its own. */
export interface SectionError {
  section: string;
  code: string;
  upstream: string | null;
  /** Status that the upstream answered. */
  status: number | null;
  /** The same request may succeed if it is retried. */
  retryable: boolean;
  detail: string;
  /** In a list: the key or index of the element. */
  element?: string | number;
}

/** What a document says of a section. */
export interface SectionMeta {
  state: "ok" | "stale" | "fallback" | "skipped" | "failed";
  /** When the upstream sent the value, if it came from the cache (RFC 3339). */
  as_of?: string;
  reason?: string;
}

/** A document of any dashboard. */
export interface AnyDocument {
  data: object;
  errors: SectionError[];
  meta: { complete: boolean; sections: object };
}

type Operation<Paths, P extends keyof Paths> = Paths[P] extends { get: infer G } ? G : never;

type Content<Op> = Op extends { responses: { 200: { content: infer C } } } ? C : never;

type Json<Op> = Content<Op> extends { "application/json": infer D } ? D : never;

/** The paths that are dashboards. */
export type DashboardPath<Paths> = {
  [P in keyof Paths]: [Json<Operation<Paths, P>>] extends [never]
    ? never
    : Json<Operation<Paths, P>> extends AnyDocument
      ? P
      : never;
}[keyof Paths] &
  string;

/** The document of a dashboard. */
export type DocumentOf<Paths, P extends DashboardPath<Paths>> = Json<Operation<Paths, P>> &
  AnyDocument;

/** The names of a dashboard's sections. */
export type SectionOf<Paths, P extends DashboardPath<Paths>> = keyof DocumentOf<Paths, P>["data"] &
  string;

/** The part of a document that a request for some sections gets. */
export type Selected<D extends AnyDocument, S extends string> = [keyof D["data"]] extends [S]
  ? D
  : {
      data: Pick<D["data"], S & keyof D["data"]>;
      errors: D["errors"];
      meta: {
        complete: boolean;
        sections: Pick<D["meta"]["sections"], S & keyof D["meta"]["sections"]>;
      };
    };

type Parameters<Op> = Op extends { parameters: infer X } ? X : object;

// `sections` is an option of its own.
type WithoutSections<Q> = { [K in keyof Q as K extends "sections" ? never : K]: Q[K] };

type Place<Op, In extends string> = In extends keyof Parameters<Op>
  ? WithoutSections<NonNullable<Parameters<Op>[In]>>
  : never;

type Inputs<Op, In extends string> = [Place<Op, In>] extends [never]
  ? { [K in In]?: Record<string, never> }
  : object extends Place<Op, In>
    ? { [K in In]?: Place<Op, In> }
    : { [K in In]: Place<Op, In> };

/** Options of every request. */
export interface RequestOptions {
  /** Ends the request; the promise or iterator rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
  /** Further header fields. */
  headers?: HeadersInit | undefined;
}

/** Options of a request for a dashboard: its parameters, and which sections are wanted. */
export type DashboardOptions<
  Paths,
  P extends DashboardPath<Paths>,
  S extends SectionOf<Paths, P> = SectionOf<Paths, P>,
> = RequestOptions &
  Inputs<Operation<Paths, P>, "path"> &
  Inputs<Operation<Paths, P>, "query"> & {
    /** Fetches and returns only these sections. */
    sections?: readonly S[] | undefined;
  };

/** The arguments after the path; options may be left out where no parameter is required. */
export type Arguments<Options> = object extends Options ? [options?: Options] : [options: Options];

type Lines<Op> = Content<Op> extends { "application/jsonl": infer L } ? L : never;

/** An event of a dashboard's stream, with its name in `event`. */
export type EventOf<
  Paths,
  P extends DashboardPath<Paths>,
  S extends string = SectionOf<Paths, P>,
> = OfSections<Exclude<Lines<Operation<Paths, P>>, { event: "problem" }>, S>;

type OfSections<E, S extends string> = E extends { section: infer Name }
  ? Name extends S
    ? E
    : never
  : E;
