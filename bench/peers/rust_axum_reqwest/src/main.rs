//! Rust: axum in front, a shared reqwest client behind, JSON parsed and written again.
use std::{collections::HashMap, env, sync::Arc};

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::{header, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
    serve::ListenerExt,
    Router,
};
use futures_util::future::try_join_all;
use serde_json::{json, Map, Value};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A dashboard: the name of each section with the URL that it calls.
type Dashboard = Vec<(String, String)>;

#[derive(Clone)]
struct App {
    client: reqwest::Client,
    dashboards: Arc<HashMap<String, Dashboard>>,
}

async fn fetch(client: &reqwest::Client, url: &str) -> reqwest::Result<Value> {
    client.get(url).send().await?.error_for_status()?.json().await
}

async fn dashboard(State(app): State<App>, Path(name): Path<String>) -> Response {
    let Some(sections) = app.dashboards.get(&name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let calls = sections.iter().map(|(_, url)| fetch(&app.client, url));
    match try_join_all(calls).await {
        Ok(values) => {
            let names = sections.iter().map(|(section, _)| section.clone());
            let data: Map<String, Value> = names.zip(values).collect();
            let body = serde_json::to_vec(&json!({ "data": data })).expect("a tree is JSON");
            ([(header::CONTENT_TYPE, "application/json")], Bytes::from(body)).into_response()
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

/// Reads `BENCH_DASHBOARDS`, a JSON object of dashboards, each an object of sections and paths.
fn dashboards(upstream: &str) -> HashMap<String, Dashboard> {
    let text = env::var("BENCH_DASHBOARDS").expect("BENCH_DASHBOARDS");
    let declared: HashMap<String, Map<String, Value>> =
        serde_json::from_str(&text).expect("BENCH_DASHBOARDS is JSON");
    let url = |path: Value| format!("{upstream}{}", path.as_str().expect("a path"));
    declared
        .into_iter()
        .map(|(name, sections)| (name, sections.into_iter().map(|(s, p)| (s, url(p))).collect()))
        .collect()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let upstream = env::var("BENCH_UPSTREAM").expect("BENCH_UPSTREAM");
    let port: u16 = env::var("BENCH_PORT").expect("BENCH_PORT").parse().expect("a port");
    let client = reqwest::Client::builder()
        .pool_max_idle_per_host(512)
        .no_proxy()
        .build()
        .expect("a client");
    let app = App { client, dashboards: Arc::new(dashboards(&upstream)) };
    let router = Router::new().route("/{name}", get(dashboard)).with_state(app);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.expect("the port");
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router).await.expect("serving");
}
