//! Pictures of the demo pages: `cargo test -p server --test all -- --ignored pictures` writes them to
//! `results/pages/`, at 1440, 768 and 390 pixels, light and dark, and the two of the README to `results/reference/`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde_json::json;
use tokio::time::sleep;

use crate::browser::Browser;
use crate::helper::TestServer;

/// The page, and what is done before it is taken.
const SCENES: [(&str, &str, u64); 8] = [
    ("index", "", 1),
    ("short-poll", TALK, 9),
    ("long-poll", TALK, 9),
    ("sse", TALK, 9),
    ("ws", TALK, 9),
    ("socketio", TALK, 9),
    (
        "race",
        "document.getElementById('burst').click(); document.getElementById('drive').click();",
        5,
    ),
    (
        "seventh",
        "for (let n = 0; n < 7; n += 1) document.getElementById('add').click();",
        2,
    ),
];

/// Somebody says something, seconds apart.
const TALK: &str =
    "['good morning', 'coffee?', 'in five minutes'].forEach((text, n) => setTimeout(() => {
    document.getElementById('text').value = text;
    document.getElementById('compose').requestSubmit();
}, 500 + 2600 * n));";

#[tokio::test]
#[ignore = "writes pictures"]
async fn pictures() {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results");
    let folder = results.join("pages");
    std::fs::create_dir_all(&folder).expect("a folder for the pictures");
    let browser = Browser::start().await;
    let sizes = [(1440, 900), (768, 1024), (390, 844)];
    for (width, height, scheme) in sizes
        .into_iter()
        .flat_map(|(w, h)| [(w, h, "light"), (w, h, "dark")])
    {
        for (page, script, seconds) in SCENES {
            let server = TestServer::start("--heartbeat 20s");
            let query =
                "?name=ann&open=knobs-panel,tally,wire&interval=3000&hold=7000&distance=200";
            let tab = browser.open("about:blank").await;
            let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
            browser
                .cdp("Emulation.setDeviceMetricsOverride", size)
                .await;
            let features =
                json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
            browser.cdp("Emulation.setEmulatedMedia", features).await;
            browser
                .cdp("Emulation.setScrollbarsHidden", json!({ "hidden": true }))
                .await;
            tab.go(&server.url(&format!("/{page}.html{query}"))).await;
            sleep(Duration::from_millis(700)).await;
            tab.run(script).await;
            sleep(Duration::from_secs(seconds)).await;
            take(
                &browser,
                &folder.join(format!("{page}-{width}-{scheme}.webp")),
            )
            .await;
            tab.close().await;
        }
    }
    for (from, to) in [
        ("long-poll-1440-light", "page-long-poll"),
        ("race-1440-light", "page-race"),
    ] {
        let to = results.join("reference").join(to).with_extension("webp");
        std::fs::copy(folder.join(from).with_extension("webp"), &to).expect("it can be copied");
        assert!(
            std::fs::metadata(&to).unwrap().len() < 100_000,
            "{} is small",
            to.display()
        );
    }
}

async fn take(browser: &Browser, file: &PathBuf) {
    let picture = browser
        .cdp(
            "Page.captureScreenshot",
            json!({ "format": "webp", "quality": 80 }),
        )
        .await;
    let picture = BASE64
        .decode(picture["data"].as_str().expect("a picture"))
        .expect("in base64");
    std::fs::write(file, picture).expect("it can be written");
    println!("{}", file.display());
}
