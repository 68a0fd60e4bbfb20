//! Auth: a user and a password, and the token that stands for them.
//!
//! In: a name and a password, or the headers of a request. Out: a token, or whether the request may be answered. The token
//! is made of user and password alone: one of a former life, or from another worker, is as good, so that a restart locks
//! nobody out, and it ends when the password changes. Without a password any name gets a token that nobody checks, so that
//! an APISIX which has both in its configuration works unchanged; who may read is then settled by where the endpoint
//! listens. Never here: roles. Whoever is let in may read all, and nobody may write.

use http::HeaderMap;
use ring::hmac;
use tonic::{Request, Response, Status};

use super::{endpoint::Endpoint, status::Refusal};
use crate::{
    grpc::Secret,
    pb::etcdserverpb::{
        AuthStatusRequest, AuthStatusResponse, AuthenticateRequest, AuthenticateResponse, auth_server::Auth,
    },
};

/// What is given to those who need none.
const ANY_TOKEN: &str = "apisix-mesh";

/// The one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    user: String,
    password: Secret<String>,
}

impl Login {
    /// A user and the password.
    pub fn new(user: String, password: String) -> Self {
        Self { user, password: Secret::new(password) }
    }

    fn tag(&self) -> hmac::Tag {
        hmac::sign(&key(self.password.reveal()), &message(&self.user))
    }

    fn token(&self) -> String {
        self.tag().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// In a time that tells nothing of the password.
    fn is(&self, user: &str, password: &str) -> bool {
        hmac::verify(&key(password), &message(user), self.tag().as_ref()).is_ok()
    }

    fn made(&self, token: &str) -> bool {
        let bytes = token.as_bytes().chunks(2).map(|digits| {
            let digits = str::from_utf8(digits).ok().filter(|digits| digits.len() == 2)?;
            u8::from_str_radix(digits, 16).ok()
        });
        let tag: Option<Vec<u8>> = bytes.collect();
        let key = key(self.password.reveal());
        tag.is_some_and(|tag| hmac::verify(&key, &message(&self.user), &tag).is_ok())
    }
}

fn key(password: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, password.as_bytes())
}

/// What is signed: a token of this purpose, for this user.
fn message(user: &str) -> Vec<u8> {
    [b"apisix-mesh etcd token ", user.as_bytes()].concat()
}

impl Endpoint {
    /// Whether a request with these headers may be answered. gRPC clients send `token`, those of the gateway
    /// `Authorization`, without a scheme or with `Bearer`.
    pub(super) fn admit(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(login) = &self.options.login else { return Ok(()) };
        let given = headers.get("token").or_else(|| headers.get(http::header::AUTHORIZATION));
        let given = given.ok_or(Refusal::UserEmpty)?.to_str().map_err(|_| Refusal::InvalidToken)?;
        let token = given.strip_prefix("Bearer ").unwrap_or(given);
        if login.made(token) { Ok(()) } else { Err(Refusal::InvalidToken) }
    }

    pub(super) async fn auth_status(&self, _: AuthStatusRequest) -> Result<AuthStatusResponse, Refusal> {
        let enabled = self.options.login.is_some();
        Ok(AuthStatusResponse { header: Some(self.header()), enabled, auth_revision: 1 })
    }

    pub(super) async fn authenticate(
        &self,
        request: AuthenticateRequest,
    ) -> Result<AuthenticateResponse, Refusal> {
        let token = match &self.options.login {
            None => ANY_TOKEN.to_owned(),
            Some(login) if login.is(&request.name, &request.password) => login.token(),
            Some(_) => return Err(Refusal::AuthFailed),
        };
        Ok(AuthenticateResponse { header: Some(self.header()), token })
    }
}

#[tonic::async_trait]
impl Auth for super::endpoint::Shared {
    async fn auth_status(
        &self,
        request: Request<AuthStatusRequest>,
    ) -> Result<Response<AuthStatusResponse>, Status> {
        Ok(Response::new(self.0.auth_status(request.into_inner()).await?))
    }

    async fn authenticate(
        &self,
        request: Request<AuthenticateRequest>,
    ) -> Result<Response<AuthenticateResponse>, Status> {
        Ok(Response::new(self.0.authenticate(request.into_inner()).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_its_users_and_passwords_and_outlives_the_process() {
        let login = || Login::new("root".to_owned(), "secret".to_owned());
        let token = login().token();
        assert!(login().made(&token));
        assert!(!Login::new("root".to_owned(), "changed".to_owned()).made(&token));
        assert!(!Login::new("other".to_owned(), "secret".to_owned()).made(&token));
        for wrong in
            ["", "apisix-mesh", "zz", "a", &token[1..], &token.replace(&token[..1], "g"), "\u{e9}\u{e9}"]
        {
            assert!(!login().made(wrong), "{wrong:?}");
        }
        assert!(login().is("root", "secret") && !login().is("root", "") && !login().is("", "secret"));
        assert!(!format!("{:?}", login()).contains("secret\""));
    }
}
