//! A real browser for a test: chromedriver, Chromium under it, tabs that say what they show.

mod processes;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;
use thirtyfour::prelude::*;
use thirtyfour::{ChromiumLikeCapabilities, LoggingPrefsLogLevel};

use self::processes::{Asleep, Driver, Profile, program};

/// Two browsers may start at once on two busy cores; a page may wait for its fourth attempt to reconnect.
const PATIENCE: Duration = Duration::from_secs(40);

/// After the first five they keep it off the network: it is to talk to the server under test and to nobody else.
const CHROMIUM_FLAGS: &[&str] = &[
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// Invariant: fields drop in this order, so that the profile goes when nobody writes to it any more.
pub(crate) struct Browser {
    driver: WebDriver,
    port: u16,
    chromedriver: Driver,
    _profile: Profile,
}

/// One tab of a browser.
pub(crate) struct Tab<'a> {
    browser: &'a Browser,
    window: WindowHandle,
}

impl Browser {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With more flags of Chromium.
    pub(crate) async fn start_with(more: &[&str]) -> Self {
        let (chromium, chromedriver) = (program("chromium"), program("chromedriver"));
        let (chromedriver, port) = Driver::start(&chromedriver);
        let profile = Profile::fresh();
        let mut wanted = DesiredCapabilities::chrome();
        wanted
            .set_binary(chromium.to_str().expect("a path in UTF-8"))
            .unwrap();
        for flag in CHROMIUM_FLAGS.iter().chain(more) {
            wanted.add_arg(flag).unwrap();
        }
        wanted
            .add_arg(&format!("--user-data-dir={}", profile.0.display()))
            .unwrap();
        wanted
            .set_browser_log_level(LoggingPrefsLogLevel::All)
            .unwrap();
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), wanted)
            .await
            .expect("Chromium starts");
        Self {
            driver,
            port,
            chromedriver,
            _profile: profile,
        }
    }

    /// A command of Chromium's own protocol, for the tab in front.
    pub(crate) async fn cdp(&self, command: &str, parameters: Value) -> Value {
        let url = format!(
            "http://127.0.0.1:{}/session/{}/goog/cdp/execute",
            self.port,
            self.driver.session_id()
        );
        let body = serde_json::json!({ "cmd": command, "params": parameters }).to_string();
        let answer = reqwest::Client::new()
            .post(url)
            .body(body)
            .send()
            .await
            .expect("chromedriver answers");
        let answer = answer.text().await.expect("the whole answer");
        serde_json::from_str::<Value>(&answer).expect("JSON")["value"].take()
    }

    pub(crate) async fn open(&self, url: &str) -> Tab<'_> {
        let tab = Tab {
            browser: self,
            window: self.driver.new_tab().await.expect("a tab"),
        };
        self.driver
            .switch_to_window(tab.window.clone())
            .await
            .unwrap();
        self.driver.goto(url).await.expect("the page loads");
        tab
    }

    /// Stops it as a closed lid would: until it wakes up, it cannot be asked anything, and none of its timers runs.
    pub(crate) fn sleep(&self) -> Asleep {
        Asleep::under(&self.chromedriver)
    }

    /// A tab whose page may not come for a while; until it is there, it cannot be asked anything.
    pub(crate) async fn open_waiting(&self, opener: &Tab<'_>, url: &str) -> Tab<'_> {
        let before = self.driver.windows().await.expect("windows");
        opener.run(&format!("window.open('{url}')")).await;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let mut windows = self.driver.windows().await.expect("windows").into_iter();
            if let Some(window) = windows.find(|window| !before.contains(window)) {
                return Tab {
                    browser: self,
                    window,
                };
            }
        }
        panic!("no window more for {url}");
    }

    /// What the console says of errors, warnings and violations of the content policy since the last look.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let entries = self.driver.browser_log().await.expect("the console");
        let bad = entries
            .into_iter()
            .filter(|entry| ["SEVERE", "WARNING"].contains(&entry.level.as_str()));
        bad.map(|entry| entry.message).collect()
    }
}

impl Drop for Browser {
    /// Ends the session, and with it Chromium. Not `WebDriver::quit`, which a test that panics would not come to; and
    /// its own way out waits for a connection that the test's runtime, blocked by this very drop, would have to drive.
    fn drop(&mut self) {
        let _ = self.driver.clone().leak();
        let delete = || {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            let path = format!("/session/{}", self.driver.session_id());
            write!(
                stream,
                "DELETE {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            )?;
            // The answer means that it is done; the connection stays open all the same.
            stream.read(&mut [0; 1024])
        };
        if let Err(error) = delete() {
            eprintln!("Chromium may still be running: {error}");
        }
    }
}

impl Tab<'_> {
    /// Types a message and presses Enter.
    pub(crate) async fn send(&self, text: &str) {
        let input = self.find("#text").await;
        input.send_keys(text).await.unwrap();
        input.send_keys(Key::Enter).await.unwrap();
    }

    /// Sends messages faster than anybody types.
    pub(crate) async fn send_at_once(&self, texts: &[&str]) {
        self.front().await;
        let script = "for (const text of arguments[0]) {
            document.getElementById('text').value = text;
            document.getElementById('compose').requestSubmit();
        }";
        self.browser
            .driver
            .execute(script, vec![texts.into()])
            .await
            .expect("the script runs");
    }

    pub(crate) async fn click(&self, css: &str) {
        self.find(css)
            .await
            .click()
            .await
            .expect("something to click");
    }

    /// Puts a text in the place of what an input holds.
    pub(crate) async fn fill(&self, css: &str, text: &str) {
        let input = self.find(css).await;
        input.clear().await.unwrap();
        input.send_keys(text).await.unwrap();
    }

    /// Runs a script in the page; what it returns.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.front().await;
        self.browser
            .driver
            .execute(script, Vec::new())
            .await
            .expect("the script runs")
            .json()
            .clone()
    }

    /// Turns a knob: sets the value of a control as if by hand.
    pub(crate) async fn turn(&self, css: &str, value: &str) {
        self.run(&format!(
            "const control = document.querySelector('{css}');
            control.value = '{value}';
            control.dispatchEvent(new Event('change'));"
        ))
        .await;
    }

    /// The text of the first element of a selector.
    pub(crate) async fn text(&self, css: &str) -> String {
        self.texts(css).await.swap_remove(0)
    }

    /// The texts of all elements of a selector, in the order of the document.
    pub(crate) async fn texts(&self, css: &str) -> Vec<String> {
        self.front().await;
        let script = "return [...document.querySelectorAll(arguments[0])].map((element) => element.textContent)";
        let texts = self
            .browser
            .driver
            .execute(script, vec![Value::from(css)])
            .await;
        texts.expect("the script runs").convert().expect("texts")
    }

    /// Waits until the messages and notes in the list, and nothing else, are these.
    pub(crate) async fn lists(&self, expected: &[&str]) {
        self.until("#messages .text, #messages .note", |texts| {
            texts == expected
        })
        .await;
    }

    /// Waits until the state says so; with a `retrying`, it may be between two attempts. Of a poll nothing is open.
    pub(crate) async fn is(&self, state: &str) {
        let states = if state == "open" {
            &["open", "polling"][..]
        } else {
            &[state]
        };
        self.until(
            "#state",
            |texts| matches!(texts, [text] if states.contains(&text.as_str())),
        )
        .await;
    }

    /// Closes the tab; the one the browser began with comes to the front.
    pub(crate) async fn close(self) {
        self.front().await;
        self.browser.driver.close_window().await.expect("it closes");
        let first = self
            .browser
            .driver
            .windows()
            .await
            .expect("windows")
            .swap_remove(0);
        self.browser
            .driver
            .switch_to_window(first)
            .await
            .expect("it is open");
    }

    pub(crate) async fn go(&self, url: &str) {
        self.front().await;
        self.browser.driver.goto(url).await.expect("the page loads");
    }

    /// Waits until a script returns what is so.
    pub(crate) async fn until_run(&self, script: &str, is_so: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let value = self.run(script).await;
            if is_so(&value) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "in the end it was {value}: {script}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the texts of a selector are so.
    pub(crate) async fn until(&self, css: &str, is_so: impl Fn(&[String]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let texts = self.texts(css).await;
            if is_so(&texts) {
                return;
            }
            if Instant::now() >= deadline {
                let page = self.browser.driver.current_url().await.unwrap();
                panic!("{css} of {page} was to be something else, in the end it was {texts:#?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn find(&self, css: &str) -> WebElement {
        self.front().await;
        self.browser
            .driver
            .find(By::Css(css))
            .await
            .expect("the page has it")
    }

    async fn front(&self) {
        self.browser
            .driver
            .switch_to_window(self.window.clone())
            .await
            .expect("the tab is open");
    }
}
