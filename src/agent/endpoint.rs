//! How the settings want the etcd endpoint.
//!
//! In: the settings, and the files that they name. Out: the endpoint's options. Never here: the socket.

use std::sync::Arc;

use crate::{config::Config, error::Error, etcd};

/// The endpoint's options; a file that cannot be used is an error.
pub fn options(config: &Config) -> Result<etcd::Options, Error> {
    let tls = match (&config.etcd_cert_file, &config.etcd_key_file) {
        (Some(cert), Some(key)) => {
            let trusted_ca = config.etcd_trusted_ca_file.clone();
            let files = etcd::TlsFiles { cert: cert.clone(), key: key.clone(), trusted_ca };
            Some(Arc::new(etcd::Tls::open(files)?))
        }
        _ => None,
    };
    let login = match (&config.etcd_user, &config.etcd_password_file) {
        (Some(user), Some(file)) => Some(etcd::Login::new(user.clone(), password(file)?)),
        _ => None,
    };
    Ok(etcd::Options { prefix: config.etcd_prefix.clone(), tls, login, ..etcd::Options::default() })
}

/// The first line: editors end it with a newline.
fn password(file: &str) -> Result<String, Error> {
    let wrong = |problem: String| Error::config("etcd_password_file", format!("{file}: {problem}"));
    let text = std::fs::read_to_string(file)
        .map_err(|error| wrong(format!("{error}: write the password there, or correct the setting")))?;
    match text.lines().next() {
        Some(password) if !password.is_empty() => Ok(password.to_owned()),
        _ => Err(wrong("is empty: a password is expected".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(settings: &str) -> Result<etcd::Options, Error> {
        options(&Config::from_text(&format!("xds: grpc://a:1\n{settings}"))?)
    }

    #[test]
    fn a_password_is_the_first_line_of_its_file() {
        let file = std::env::temp_dir().join(format!("apisix-mesh-password-{}", std::process::id()));
        let settings = format!("etcd_user: root\netcd_password_file: {}", file.display());
        std::fs::write(&file, "se cret\nmore\n").unwrap();
        let login = etcd::Login::new("root".to_owned(), "se cret".to_owned());
        assert_eq!(with(&settings).unwrap().login, Some(login));
        std::fs::write(&file, "\n").unwrap();
        assert!(with(&settings).unwrap_err().to_string().contains("is empty"));
        std::fs::remove_file(&file).unwrap();
        assert!(with(&settings).unwrap_err().to_string().contains("etcd_password_file"));
    }

    #[test]
    fn without_settings_nobody_is_asked() {
        let options = with("").unwrap();
        assert!(options.login.is_none() && options.tls.is_none());
        assert!(with("etcd_cert_file: /nope\netcd_key_file: /nope").is_err());
    }
}
