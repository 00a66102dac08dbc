//! What to change, in the words of each product: the one table of settings, with where its maker documents them. A test
//! holds it against `docs/operations.md`.

use super::advice::Kind;

/// A setting of a product. In the line, `{time}` stands for a time such as `60s`, `{seconds}` for its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) product: &'static str,
    /// The line that sets it right; or, where the product does it by itself, what to look for.
    pub(super) line: &'static str,
    pub(super) source: &'static str,
}

impl Setting {
    /// The line with a time in it.
    pub(super) fn line(&self, time_s: Option<f64>) -> String {
        let seconds = time_s.unwrap_or(60.0).max(1.0).ceil();
        self.line
            .replace("{time}", &format!("{seconds}s"))
            .replace("{seconds}", &seconds.to_string())
    }

    /// Whether this is what calls itself so in the header `Server`.
    pub(super) fn is_of(&self, server: &str) -> bool {
        let server = server.to_ascii_lowercase();
        let names: &[&str] = match self.product {
            "nginx" | "ingress-nginx" => &["nginx", "openresty"],
            "AWS ALB" => &["awselb"],
            "Cloudflare" => &["cloudflare"],
            _ => &[],
        };
        names.iter().any(|name| server.starts_with(name))
    }
}

const NGINX_PROXY: &str = "https://nginx.org/en/docs/http/ngx_http_proxy_module.html";
const NGINX_WEBSOCKET: &str = "https://nginx.org/en/docs/http/websocket.html";
const NGINX_UPSTREAM: &str = "https://nginx.org/en/docs/http/ngx_http_upstream_module.html#hash";
const HAPROXY: &str = "https://docs.haproxy.org/2.6/configuration.html";
const ALB: &str = "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-load-balancer-attributes.html";
const ALB_LISTENERS: &str = "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-listeners.html";
const ALB_STICKY: &str =
    "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/sticky-sessions.html";
const CLOUDFLARE_WEBSOCKETS: &str = "https://developers.cloudflare.com/network/websockets/";
const CLOUDFLARE_LIMITS: &str =
    "https://developers.cloudflare.com/fundamentals/reference/connection-limits/";
const CLOUDFLARE_BUFFERING: &str =
    "https://developers.cloudflare.com/changelog/2026-01-27-body-buffering-settings/";
const CLOUDFLARE_AFFINITY: &str =
    "https://developers.cloudflare.com/load-balancing/understand-basics/session-affinity/";
const CLOUDFLARE_RULES: &str = "https://developers.cloudflare.com/rules/";
const INGRESS: &str =
    "https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/annotations/";
const INGRESS_WEBSOCKETS: &str =
    "https://kubernetes.github.io/ingress-nginx/user-guide/miscellaneous/#websockets";
const TRAEFIK_ENTRYPOINTS: &str =
    "https://doc.traefik.io/traefik/reference/install-configuration/entrypoints/";
const TRAEFIK_SERVICE: &str =
    "https://doc.traefik.io/traefik/reference/routing-configuration/http/load-balancing/service/";
const TRAEFIK_MIDDLEWARES: &str =
    "https://doc.traefik.io/traefik/reference/routing-configuration/http/middlewares/overview/";

const fn setting(product: &'static str, line: &'static str, source: &'static str) -> Setting {
    Setting {
        product,
        line,
        source,
    }
}

const UPGRADE: [Setting; 6] = [
    setting(
        "nginx",
        r#"proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";"#,
        NGINX_WEBSOCKET,
    ),
    setting(
        "haproxy",
        "passes it by itself with `mode http`: take out the http-request rule that denies it or deletes Upgrade",
        HAPROXY,
    ),
    setting(
        "AWS ALB",
        "passes it by itself: look for a WAF rule against it, or a target group that refuses it",
        ALB_LISTENERS,
    ),
    setting(
        "Cloudflare",
        "Network, WebSockets: On (in the API, the zone setting `websockets` is `on`)",
        CLOUDFLARE_WEBSOCKETS,
    ),
    setting(
        "ingress-nginx",
        "passes it by itself: take out the snippet that sets Connection or Upgrade",
        INGRESS_WEBSOCKETS,
    ),
    setting(
        "Traefik",
        "passes it by itself: take out the headers middleware that sets Connection or Upgrade",
        TRAEFIK_MIDDLEWARES,
    ),
];

const HOST: [Setting; 6] = [
    setting(
        "nginx",
        "proxy_set_header Host $http_host;",
        "https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_set_header",
    ),
    setting(
        "haproxy",
        "passes it on by itself: take out `http-request set-header Host`",
        HAPROXY,
    ),
    setting(
        "AWS ALB",
        "routing.http.preserve_host_header.enabled=true",
        ALB,
    ),
    setting(
        "Cloudflare",
        "passes it on by itself: take out the Origin Rule that overrides the Host header",
        CLOUDFLARE_RULES,
    ),
    setting(
        "ingress-nginx",
        "passes it on by itself: take out nginx.ingress.kubernetes.io/upstream-vhost",
        INGRESS,
    ),
    setting("Traefik", "passHostHeader: true", TRAEFIK_SERVICE),
];

const BUFFERING: [Setting; 6] = [
    setting(
        "nginx",
        "proxy_buffering off; (or no longer `proxy_ignore_headers X-Accel-Buffering`)",
        "https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_buffering",
    ),
    setting(
        "haproxy",
        "option http-no-delay, and no `http-response wait-for-body`",
        HAPROXY,
    ),
    setting(
        "AWS ALB",
        "streams by itself: look at what is behind or in front of it",
        ALB_LISTENERS,
    ),
    setting(
        "Cloudflare",
        "a Configuration Rule with response_body_buffering: none, and no caching of the path",
        CLOUDFLARE_BUFFERING,
    ),
    setting(
        "ingress-nginx",
        r#"nginx.ingress.kubernetes.io/proxy-buffering: "off""#,
        INGRESS,
    ),
    setting(
        "Traefik",
        "streams by itself: take out the buffering middleware, and text/event-stream from compress",
        TRAEFIK_MIDDLEWARES,
    ),
];

const ALB_IDLE: Setting = setting("AWS ALB", "idle_timeout.timeout_seconds={seconds}", ALB);
const INGRESS_IDLE: Setting = setting(
    "ingress-nginx",
    r#"nginx.ingress.kubernetes.io/proxy-read-timeout: "{seconds}" (and proxy-send-timeout)"#,
    INGRESS,
);
const NGINX_IDLE: Setting = setting(
    "nginx",
    "proxy_read_timeout {time};",
    "https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_read_timeout",
);
const TRAEFIK_IDLE: Setting = setting(
    "Traefik",
    "entryPoints.NAME.transport.respondingTimeouts: readTimeout 0 and writeTimeout 0",
    TRAEFIK_ENTRYPOINTS,
);

const IDLE_SOCKET: [Setting; 6] = [
    NGINX_IDLE,
    setting("haproxy", "timeout tunnel {time}", HAPROXY),
    ALB_IDLE,
    setting(
        "Cloudflare",
        "has no setting for it: only a heartbeat helps",
        CLOUDFLARE_WEBSOCKETS,
    ),
    INGRESS_IDLE,
    TRAEFIK_IDLE,
];

const IDLE_STREAM: [Setting; 6] = [
    NGINX_IDLE,
    setting(
        "haproxy",
        "timeout tunnel {time} (an endless answer is a tunnel; where none is set, timeout server and client)",
        HAPROXY,
    ),
    ALB_IDLE,
    setting(
        "Cloudflare",
        "Proxy Read Timeout (120 s, to be changed by Enterprise only): only a heartbeat helps",
        CLOUDFLARE_LIMITS,
    ),
    INGRESS_IDLE,
    TRAEFIK_IDLE,
];

const HELD_POLL: [Setting; 6] = [
    NGINX_IDLE,
    setting(
        "haproxy",
        "timeout server {time} (and timeout client {time})",
        HAPROXY,
    ),
    ALB_IDLE,
    setting(
        "Cloudflare",
        "Proxy Read Timeout (120 s, to be changed by Enterprise only): only a shorter hold helps",
        CLOUDFLARE_LIMITS,
    ),
    INGRESS_IDLE,
    TRAEFIK_IDLE,
];

const LIFETIME: [Setting; 6] = [
    setting("nginx", "has no such limit: look elsewhere", NGINX_PROXY),
    setting("haproxy", "has no such limit: look elsewhere", HAPROXY),
    setting("AWS ALB", "has no such limit: look elsewhere", ALB),
    setting(
        "Cloudflare",
        "has none but that it restarts its servers: clients come back with their cursor",
        CLOUDFLARE_WEBSOCKETS,
    ),
    setting(
        "ingress-nginx",
        "worker-shutdown-timeout: \"3600s\" in its ConfigMap (after a reload it cuts what is open)",
        INGRESS_WEBSOCKETS,
    ),
    TRAEFIK_IDLE,
];

const SERVERS: [Setting; 6] = [
    setting(
        "nginx",
        "hash $arg_room consistent; in the upstream (by client: ip_hash;)",
        NGINX_UPSTREAM,
    ),
    setting(
        "haproxy",
        "balance url_param room (by client: balance source, or cookie SERVER insert indirect nocache)",
        HAPROXY,
    ),
    setting(
        "AWS ALB",
        "stickiness.enabled=true, stickiness.type=lb_cookie (by client alone)",
        ALB_STICKY,
    ),
    setting(
        "Cloudflare",
        r#"session_affinity: "cookie" of the load balancer (by client alone)"#,
        CLOUDFLARE_AFFINITY,
    ),
    setting(
        "ingress-nginx",
        r#"nginx.ingress.kubernetes.io/upstream-hash-by: "$arg_room" (by client: affinity: "cookie")"#,
        INGRESS,
    ),
    setting(
        "Traefik",
        "loadBalancer.sticky.cookie: {} of the service (by client alone)",
        TRAEFIK_SERVICE,
    ),
];

const HEADERS: [Setting; 6] = [
    setting(
        "nginx",
        "take out the proxy_set_header, proxy_hide_header or expires that names or changes it",
        NGINX_PROXY,
    ),
    setting(
        "haproxy",
        "take out the http-request or http-response rule (del-header, set-header) that names it",
        HAPROXY,
    ),
    setting(
        "AWS ALB",
        "take out the header modification of the listener",
        ALB_LISTENERS,
    ),
    setting(
        "Cloudflare",
        "take out the Transform Rule that names it, and Browser Cache TTL: Respect Existing Headers",
        CLOUDFLARE_RULES,
    ),
    setting(
        "ingress-nginx",
        "take out the snippet or the proxy-set-headers ConfigMap that names it",
        INGRESS,
    ),
    setting(
        "Traefik",
        "take out the headers middleware that names it",
        TRAEFIK_MIDDLEWARES,
    ),
];

/// What sets it right, product by product; none where it is no matter of a product.
pub(super) fn settings(kind: Kind) -> &'static [Setting] {
    match kind {
        Kind::Upgrade => &UPGRADE,
        Kind::Host => &HOST,
        Kind::Refused => &[],
        Kind::Buffering => &BUFFERING,
        Kind::IdleSocket => &IDLE_SOCKET,
        Kind::IdleStream => &IDLE_STREAM,
        Kind::HeldPoll => &HELD_POLL,
        Kind::Lifetime => &LIFETIME,
        Kind::Servers => &SERVERS,
        Kind::Headers => &HEADERS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../../docs/operations.md");
    const KINDS: [(Kind, &str); 9] = [
        (Kind::Upgrade, "the upgrade to WebSocket"),
        (Kind::Host, "`Host`, for pages"),
        (Kind::Buffering, "an event stream that is held back"),
        (Kind::IdleSocket, "a silent WebSocket that is cut"),
        (Kind::IdleStream, "a silent event stream that is cut"),
        (Kind::HeldPoll, "a held poll that is cut"),
        (
            Kind::Lifetime,
            "a connection that is cut whatever goes over it",
        ),
        (Kind::Servers, "several servers"),
        (Kind::Headers, "a header that is lost"),
    ];

    /// A row of the documented table.
    fn row(what: &str, setting: &Setting) -> String {
        let line = setting
            .line
            .replace("{time}", "TIME")
            .replace("{seconds}", "SECONDS");
        let line = line.replace('`', "");
        let Setting {
            product, source, ..
        } = setting;
        format!("| {what} | {product} | `{line}` | [source]({source}) |\n")
    }

    #[test]
    fn the_table_is_the_one_that_is_documented() {
        let rows = KINDS.iter().flat_map(|(kind, what)| {
            settings(*kind)
                .iter()
                .map(move |setting| row(what, setting))
        });
        let table: String = rows.collect();
        assert!(
            DOCUMENT.contains(&table),
            "docs/operations.md has to have:\n{table}"
        );
    }

    #[test]
    fn each_kind_names_each_product_once_and_where_its_maker_says_so() {
        for (kind, _) in KINDS {
            let products: Vec<&str> = settings(kind).iter().map(|it| it.product).collect();
            assert_eq!(
                products,
                [
                    "nginx",
                    "haproxy",
                    "AWS ALB",
                    "Cloudflare",
                    "ingress-nginx",
                    "Traefik"
                ],
                "{kind:?}"
            );
            for setting in settings(kind) {
                assert!(setting.source.starts_with("https://"), "{setting:?}");
            }
        }
    }

    #[test]
    fn a_line_has_its_time_in_it() {
        assert_eq!(NGINX_IDLE.line(Some(5.2)), "proxy_read_timeout 6s;");
        assert_eq!(ALB_IDLE.line(Some(0.3)), "idle_timeout.timeout_seconds=1");
    }

    #[test]
    fn a_product_is_known_by_what_it_calls_itself() {
        let known = |server: &str| {
            let of = |setting: &&Setting| setting.is_of(server);
            settings(Kind::Upgrade)
                .iter()
                .filter(of)
                .map(|it| it.product)
                .collect::<Vec<_>>()
        };
        assert_eq!(known("nginx/1.22.1"), ["nginx", "ingress-nginx"]);
        assert_eq!(known("awselb/2.0"), ["AWS ALB"]);
        assert_eq!(known("cloudflare"), ["Cloudflare"]);
        assert_eq!(known("SimpleHTTP/0.6"), [""; 0]);
    }
}
