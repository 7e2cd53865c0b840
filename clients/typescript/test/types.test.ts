// Checked by `tsc`; nothing here runs against a gateway.
import { test } from "node:test";

import { createClient, type DashboardPath, type DocumentOf } from "../src/index.js";
import type { paths } from "../types/shipped.js";

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

/** Compiles only if both types are the same. */
function same<A, B>(_: Same<A, B>): void {}

const gateway = createClient<paths>();

test("the dashboards are the paths that answer with a document", () => {
  same<
    DashboardPath<paths>,
    | "/dashboard"
    | "/dashboard/{user_id}"
    | "/users/{user_id}/activity"
    | "/weather"
    | "/weather/fastest"
  >(true);
});

test("a document is typed down to its members", () => {
  type Data = DocumentOf<paths, "/dashboard/{user_id}">["data"];
  same<Data["profile"]["name"], string>(true);
  same<Data["posts"], { id: number; title: string }[] | null>(true);
  same<DocumentOf<paths, "/dashboard">["data"]["users"], { count: number } | null>(true);
  same<
    DocumentOf<paths, "/dashboard/{user_id}">["meta"]["sections"]["profile"]["state"],
    "ok" | "stale"
  >(true);
});

async function calls(): Promise<void> {
  const { data, meta } = await gateway.get("/dashboard/{user_id}", { path: { user_id: 1 } });
  same<typeof data.profile.name, string>(true);
  same<typeof meta.sections.posts.state, "ok" | "stale" | "failed">(true);
  // @ts-expect-error: an optional section may be null.
  void data.posts.length;

  const some = await gateway.get("/dashboard/{user_id}", {
    path: { user_id: 1 },
    sections: ["profile"],
  });
  same<typeof some.data.profile.name, string>(true);
  // @ts-expect-error: it was not asked for.
  void some.data.posts;

  for await (const event of gateway.stream("/users/{user_id}/activity", { path: { user_id: 1 } })) {
    if (event.event === "complete") same<typeof event.meta.complete, boolean>(true);
    else if (event.event === "element") {
      same<typeof event.section, "comments">(true);
      same<typeof event.key, string>(true);
    } else if (event.section === "profile") same<typeof event.data.name, string>(true);
  }
  const folded = await gateway.stream("/dashboard", { sections: ["users"] }).document();
  same<typeof folded.data.users, { count: number } | null>(true);
  // @ts-expect-error: it was not asked for.
  void folded.data.posts;
  for await (const { data: landed } of gateway.live("/weather", { minimumWait: 10 }).documents()) {
    // @ts-expect-error: it may not have landed yet.
    void landed.weather["London"];
    same<NonNullable<NonNullable<typeof landed.weather>[string]>["time"], string | undefined>(true);
  }
  const batched = await gateway.batch("/dashboard/{user_id}", { path: { user_id: 2 } });
  same<typeof batched.data.profile.name, string>(true);

  await gateway.get("/dashboard");
  await gateway.get("/weather", { query: { city: ["Paris"] }, signal: AbortSignal.timeout(1) });
  await gateway.get("/weather/fastest", { query: { latitude: 1 } });
  // @ts-expect-error: the path parameter is missing.
  await gateway.get("/dashboard/{user_id}");
  // @ts-expect-error: the path parameter is missing.
  await gateway.get("/dashboard/{user_id}", { path: {} });
  // @ts-expect-error: it is a number.
  await gateway.get("/dashboard/{user_id}", { path: { user_id: "one" } });
  // @ts-expect-error: there is no such parameter.
  await gateway.get("/weather", { query: { town: "Paris" } });
  // @ts-expect-error: there is no such section.
  await gateway.get("/dashboard", { sections: ["profile"] });
  // @ts-expect-error: there is no such dashboard.
  await gateway.get("/healthz");
}

void calls;
