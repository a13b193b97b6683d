//! Variables of the environment that nobody reads, because their names are not quite those of the table: each with the right name.
//!
//! An environment is full of other programs' variables, so only what can hardly be one of those is told.

/// What other programs call these things.
const OTHERS: [(&str, &str); 11] = [
    ("REDIS_URI", "REDIS_URL"),
    ("REDIS_ADDR", "REDIS_HOST"),
    ("REDIS_PWD", "REDIS_PASSWORD"),
    ("REDIS_AUTH", "REDIS_PASSWORD"),
    ("CORS_ALLOWED_ORIGINS", "CORS_ORIGIN"),
    ("CORS_ALLOW_ORIGIN", "CORS_ORIGIN"),
    ("ALLOWED_ORIGINS", "CORS_ORIGIN"),
    ("SERVER_NAME", "SERVER_ID"),
    ("SERVER_PORT", "PORT"),
    ("LOGLEVEL", "LOG_LEVEL"),
    ("AUTO_START", "AUTOSTART"),
];
/// Letters that may be wrong.
const WRONG: usize = 2;
/// Letters that may be missing at the end, or be there too many, behind a first word that is right, as in `REDIS_PASS`.
const ENDING: usize = 4;
/// Names shorter than this are too near to those of other programs (HOME, PAGER, PATH) to be told for a wrong letter.
const SHORT: usize = 6;

/// The name of the table that `name` was most likely meant to be; `None`: it is one, or is nothing of ours.
#[must_use]
pub fn meant(name: &str, known: &[&'static str]) -> Option<&'static str> {
    if known.contains(&name) {
        return None;
    }
    let upper = name.to_ascii_uppercase().replace('-', "_");
    if let Some(same) = known.iter().find(|known| **known == upper && known.len() >= SHORT) {
        return Some(same);
    }
    if let Some((_, right)) = OTHERS.iter().find(|(other, _)| *other == upper) {
        return Some(right);
    }
    let near = |known: &&&'static str| {
        let beginning = known.find('_').is_some_and(|end| upper.starts_with(&known[..=end]));
        let longer = known.starts_with(upper.as_str()) || upper.starts_with(**known);
        let allowed = if beginning && longer { ENDING } else { WRONG };
        known.len() >= SHORT && distance(&upper, known) <= allowed
    };
    known.iter().filter(near).min_by_key(|known| distance(&upper, known)).copied()
}

/// How many letters must be put in, taken out, changed, or swapped with their neighbour (the optimal string alignment distance).
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    // Nobody takes a long name for one of these, and its cost would be its length.
    if a.len().abs_diff(b.len()) > ENDING {
        return usize::MAX;
    }
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let change = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = change.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::config::VARIABLES;

    #[test]
    fn the_nearest_right_name() {
        let known: Vec<&'static str> = VARIABLES.iter().map(|variable| variable.name).collect();
        for (name, want) in [
            ("REDIS_PASWORD", Some("REDIS_PASSWORD")),
            ("REDIS_PASSWROD", Some("REDIS_PASSWORD")),
            ("REDIS_PASS", Some("REDIS_PASSWORD")),
            ("REDIS_PASSWD", Some("REDIS_PASSWORD")),
            ("REDIS_PWD", Some("REDIS_PASSWORD")),
            ("REDIS_USER", Some("REDIS_USERNAME")),
            ("REDIS_HOSTNAME", Some("REDIS_HOST")),
            ("REDIS_URI", Some("REDIS_URL")),
            ("redis_host", Some("REDIS_HOST")),
            ("CORS_ORIGINS", Some("CORS_ORIGIN")),
            ("CORS_ALLOWED_ORIGINS", Some("CORS_ORIGIN")),
            ("SERVERID", Some("SERVER_ID")),
            ("AUTO_START", Some("AUTOSTART")),
            ("MAX_CONNECTION", Some("MAX_CONNECTIONS")),
            ("NODE_ENVV", Some("NODE_ENV")),
            ("AUTH_TOKENS", Some("AUTH_TOKEN")),
        ] {
            assert_eq!(meant(name, &known), want, "{name}");
        }
        for name in known.iter().copied().chain([
            "HOME",
            "HOSTNAME",
            "PATH",
            "PAGER",
            "POST",
            "port",
            "NODE_PATH",
            "NODE_OPTIONS",
            "NODE_VERSION",
            "LOGNAME",
            "REDIS_PORT_6379_TCP",
            "REDIS_PORT_6379_TCP_ADDR",
            "REDIS_SERVICE_HOST",
            "REDIS_NAME",
            "PWD",
            "SHLVL",
            "LS_COLORS",
            "TERM",
            "LANG",
            "",
            "_",
            "é",
        ]) {
            assert_eq!(meant(name, &known), None, "{name}");
        }
        assert_eq!(meant(&"REDIS_HOST".repeat(1_000), &known), None);
    }
}
