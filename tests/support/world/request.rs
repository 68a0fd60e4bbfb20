//! Requests that a random configuration is likely to have a route for.

use super::*;

/// Requests that stay inside of what nginx and Envoy read alike.
pub fn request() -> impl Strategy<Value = Request> {
    let destination = select(vec![
        ("10.0.0.1:80", true),
        ("10.0.0.2:80", true),
        ("10.0.0.9:80", true),
        ("10.0.0.9:81", true),
        ("10.0.0.9:80", false),
    ]);
    let values = || vec(select(VALUES.to_vec()), 0..3);
    let content = option::weighted(
        0.1,
        select(vec!["application/grpc", "application/grpc+proto", "application/grpcx"]),
    );
    (
        destination,
        select(AUTHORITIES.to_vec()),
        select(PATHS.to_vec()),
        select(QUERIES.to_vec()),
        (values(), values(), content),
        select(vec!["GET", "POST"]),
        any::<[u8; 16]>(),
    )
        .prop_map(
            |((destination, outbound), authority, path, query, (first, second, content), method, id)| {
                let mut request =
                    Request::get(destination, authority, &format!("{path}{query}")).method(method);
                for (name, values) in NAMES.iter().zip([first, second]) {
                    request = values.into_iter().fold(request, |request, value| request.header(name, value));
                }
                if let Some(content) = content {
                    request = request.header("content-type", content);
                }
                request.outbound = outbound;
                request.request_id = id.iter().map(|byte| format!("{byte:02x}")).collect();
                request
            },
        )
}
