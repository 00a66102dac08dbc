//! Whether what the pages show can be seen and reached: contrast, forced colours, the keyboard, small windows.

use serde_json::json;

use crate::browser::{Browser, Tab};
use crate::helper::TestServer;
use crate::pages::PAGES;

/// Contrast of every text and of the shapes that tell something, by WCAG 2.2's formula: what is below its bar.
const CONTRAST: &str = "
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const rgba = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const over = ([r, g, b, a], under) => [r, g, b].map((x, n) => (x * a + under[n] * (255 - a)) / 255).concat(255);
    const opacity = (node) => node ? Number(getComputedStyle(node).opacity) * opacity(node.parentElement) : 1;
    const background = (node) =>
        node ? over(rgba(getComputedStyle(node).backgroundColor), background(node.parentElement)) : [255, 255, 255, 255];
    const luminance = (colour) => {
        const [r, g, b] = colour.map((x) => (x /= 255) <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const contrast = (colour, node) => {
        const under = background(node);
        const [r, g, b, a] = rgba(colour);
        const pair = [over([r, g, b, a * opacity(node)], under), under].map(luminance).sort((x, y) => y - x);
        return (pair[0] + 0.05) / (pair[1] + 0.05);
    };
    const low = [];
    const check = (node, colour, least, what) => {
        const found = contrast(colour, node);
        if (found < least) low.push(`${what}: ${found.toFixed(2)} of ${least}`);
    };
    const shown = (node) => node.checkVisibility({ visibilityProperty: true }) && !node.disabled;
    for (const node of document.querySelectorAll('body *')) {
        const text = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
        if (!shown(node) || !text || node.closest('noscript, option')) continue;
        const { color, fill } = getComputedStyle(node);
        check(node, node instanceof SVGElement ? fill : color, 4.5, `${node.tagName} ${node.id || node.className}`);
    }
    for (const node of document.querySelectorAll('.track :not(g), .sequence path, .dot, .hand, input, select, button:not(.row)')) {
        if (!shown(node) || node.closest('defs') || node.getBoundingClientRect().width === 0) continue;
        const { fill, stroke, backgroundColor, borderTopColor, borderTopWidth } = getComputedStyle(node);
        const edges = node instanceof SVGElement ? [fill, stroke] : [backgroundColor, borderTopWidth === '0px' ? backgroundColor : borderTopColor];
        const best = Math.max(...edges.filter((edge) => edge !== 'none').map((edge) => contrast(edge, node.parentElement)));
        if (best < 3 && node.type !== 'range' && node.type !== 'checkbox') low.push(`${node.tagName} ${node.id || node.getAttribute('class')}: ${best.toFixed(2)} of 3`);
    }
    return [...new Set(low)];";

#[tokio::test]
async fn texts_and_shapes_stand_out_in_light_and_dark() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    let query = "open=try,wire,tally,knobs-panel,code&hold=1000&interval=500";
    for page in PAGES.iter().chain(&["/", "/race.html", "/seventh.html"]) {
        let room = page.trim_matches('/');
        let tab = browser
            .open(&server.url(&format!("{page}?room=r{room}&{query}")))
            .await;
        if PAGES.contains(page) {
            tab.is("open").await;
            tab.send("something").await;
            tab.lists(&["something"]).await;
            tab.until("#rows button", |rows| !rows.is_empty()).await;
            tab.click("#rows button").await;
            tab.click("#pull").await;
            tab.until("#rows .outage", |rows| rows.len() == 1).await;
        }
        for scheme in ["light", "dark"] {
            let features =
                json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
            browser.cdp("Emulation.setEmulatedMedia", features).await;
            let no_fading = "document.getAnimations().forEach((animation) => animation.finish());";
            let low = tab.run(&format!("{no_fading} {CONTRAST}")).await;
            assert_eq!(low, json!([]), "{page} {scheme}");
        }
        assert_eq!(
            tab.run("return document.querySelectorAll('noscript').length")
                .await,
            1,
            "{page}"
        );
    }
}

#[tokio::test]
async fn with_the_users_own_colours_the_dots_of_the_race_are_seen() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    let race = browser.open(&server.url("/race.html")).await;
    let features = json!({ "features": [{ "name": "forced-colors", "value": "active" }] });
    browser.cdp("Emulation.setEmulatedMedia", features).await;
    race.until(".dot", |dots| dots.len() == PAGES.len()).await;
    assert_eq!(
        race.run("return matchMedia('(forced-colors: active)').matches")
            .await,
        true
    );
    let vanished =
        "const colour = (css) => getComputedStyle(document.querySelector(css)).backgroundColor;
        return colour('.dot') === colour('.pad')";
    assert_eq!(race.run(vanished).await, false);
}

#[tokio::test]
async fn the_row_that_has_the_focus_stays_however_many_come_after_it() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    let tab = browser
        .open(&server.url("/short-poll.html?interval=100&open=wire,tally"))
        .await;
    tab.until("#rows button", |rows| rows.len() >= 3).await;
    tab.run("window.chosen = document.querySelector('#rows button'); chosen.focus()")
        .await;
    let many = "return Number(document.getElementById('requests').textContent) > 30";
    tab.until_run(many, |many| *many == true).await;
    assert_eq!(
        tab.run("return chosen.isConnected && document.activeElement === chosen")
            .await,
        true
    );
    // Others go.
    assert!(tab.texts("#rows button").await.len() <= 14);
}

#[tokio::test]
async fn in_a_small_window_the_wire_has_room_and_its_times_do_not_collide() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    for (width, least) in [(1440, 500), (1024, 250), (768, 350), (390, 120)] {
        let tab = browser.open("about:blank").await;
        let size =
            json!({ "width": width, "height": 768, "deviceScaleFactor": 1, "mobile": false });
        browser
            .cdp("Emulation.setDeviceMetricsOverride", size)
            .await;
        tab.go(&server.url("/ws.html?open=wire")).await;
        tab.until("#rows button", |rows| !rows.is_empty()).await;
        for span in ["5", "20", "60"] {
            tab.turn("#span", span).await;
            let boxes = "const range = document.createRange();
                const box = (node) => (range.selectNodeContents(node), range.getBoundingClientRect());
                const boxes = [...document.querySelectorAll('#axis span')].map(box);
                const collide = boxes.some((box, n) => n > 0 && box.left < boxes[n - 1].right + 4);
                return [document.querySelector('.track').getBoundingClientRect().width, collide,
                    document.documentElement.scrollWidth > innerWidth]";
            let found = tab.run(boxes).await;
            assert!(
                found[0].as_f64().expect("a width") >= f64::from(least),
                "at {width}: {found}"
            );
            assert_eq!(
                [&found[1], &found[2]],
                [&json!(false), &json!(false)],
                "at {width}, {span} s"
            );
        }
        tab.close().await;
    }
}

#[tokio::test]
async fn lone_spaces_are_not_sent_and_the_page_says_why() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    let tab = browser.open(&server.url("/sse.html")).await;
    tab.is("open").await;
    for blank in ["   ", "\u{a0}\u{3000}", "\u{200b}"] {
        set(&tab, blank).await;
        assert_eq!(
            tab.run("return document.getElementById('send').disabled")
                .await,
            true
        );
        assert_eq!(
            tab.text("#why-not").await,
            "There is nothing to send: only spaces."
        );
        tab.run("document.getElementById('compose').requestSubmit()")
            .await;
    }
    set(&tab, " x ").await;
    assert_eq!(
        tab.run("return document.getElementById('send').disabled")
            .await,
        false
    );
    tab.click("#send").await;
    tab.lists(&[" x "]).await;
    assert_eq!(tab.run("return document.activeElement.id").await, "text");
    // Nor under a name that nobody sees.
    tab.run("document.getElementById('name').value = ' '").await;
    tab.send("nameless").await;
    assert_eq!(
        tab.run("return document.getElementById('name').validationMessage")
            .await,
        "Messages need a name."
    );
    assert_eq!(server.stats().await["published"], 1);
}

async fn set(tab: &Tab<'_>, text: &str) {
    tab.run(&format!(
        "const input = document.getElementById('text'); input.value = '{text}'; input.oninput?.()"
    ))
    .await;
}
