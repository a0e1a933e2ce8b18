//! The routes as labels and `Allow` headers need them: by the pattern that the framework matched.

use std::collections::HashMap;

use poem_openapi::OpenApi;

/// The label of requests that matched no route.
const NO_ROUTE: &str = "unmatched";

/// What is known of each route.
#[derive(Debug)]
pub(crate) struct RouteTable {
    routes: HashMap<String, Route>,
}

#[derive(Debug, Default)]
struct Route {
    template: String,
    methods: String,
}

impl RouteTable {
    /// The routes of `A` that its document shows.
    pub(crate) fn of<A: OpenApi>() -> Self {
        let mut routes = HashMap::<String, Route>::new();
        for path in A::meta().into_iter().flat_map(|api| api.paths) {
            let route = routes.entry(pattern_of(&path.path)).or_default();
            route.template = path.path;
            for operation in path.operations {
                if !route.methods.is_empty() {
                    route.methods.push_str(", ");
                }
                route.methods.push_str(operation.method.as_str());
            }
        }
        Self { routes }
    }

    /// The template to show for a matched `pattern`; hidden routes have no parameters and show as they are.
    pub(super) fn template<'a>(&'a self, pattern: Option<&'a str>) -> &'a str {
        let Some(pattern) = pattern else {
            return NO_ROUTE;
        };
        self.routes
            .get(pattern)
            .map_or(pattern, |route| &route.template)
    }

    /// The methods that `pattern` takes, for the header `Allow`.
    pub(super) fn methods(&self, pattern: &str) -> &str {
        self.routes
            .get(pattern)
            .map_or("GET", |route| &route.methods)
    }
}

/// How the framework spells a template when it matches: `/a/{b}/c/{d}` is `/a/:param0/c/:param1`.
fn pattern_of(template: &str) -> String {
    let mut pattern = String::with_capacity(template.len() + 8);
    let mut parameters = 0;
    for segment in template.split('/').skip(1) {
        pattern.push('/');
        if segment.starts_with('{') {
            pattern.push_str(&format!(":param{parameters}"));
            parameters += 1;
        } else {
            pattern.push_str(segment);
        }
    }
    pattern
}
