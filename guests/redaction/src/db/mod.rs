//! Takes the values out of database statements and commands. What cannot be read is hidden as a whole.

mod command;
mod json;
mod sql;

/// What statements are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Sql,
    /// Redis, Valkey and memcached.
    Command,
    /// MongoDB, OpenSearch and Elasticsearch.
    Json,
}

/// Systems by their names in the configuration, with the values that `db.system.name` (or `db.system`) has for them.
pub const SYSTEMS: &[(&str, Family, &[&str])] = &[
    (
        "sql",
        Family::Sql,
        &[
            "other_sql",
            "mysql",
            "postgresql",
            "mariadb",
            "sqlite",
            "mssql",
            "microsoft.sql_server",
            "oracle",
            "oracle.db",
            "cockroachdb",
            "db2",
            "ibm.db2",
            "redshift",
            "aws.redshift",
            "clickhouse",
            "snowflake",
            "trino",
            "hsqldb",
            "h2",
            "h2database",
            "derby",
            "spanner",
            "gcp.spanner",
        ],
    ),
    ("redis", Family::Command, &["redis"]),
    ("valkey", Family::Command, &["valkey"]),
    ("memcached", Family::Command, &["memcached"]),
    ("mongo", Family::Json, &["mongodb"]),
    ("opensearch", Family::Json, &["opensearch"]),
    ("es", Family::Json, &["elasticsearch"]),
];

/// The system that a span names, if it is one of [`SYSTEMS`]: its name in the configuration.
pub fn system_of(named: &str) -> Option<&'static str> {
    let is_named = |names: &[&str]| names.iter().any(|name| named.eq_ignore_ascii_case(name));
    SYSTEMS.iter().find(|(.., names)| is_named(names)).map(|(system, ..)| *system)
}

/// Whether a text, such as a span's name, is a statement of this family at all.
pub fn is_statement(text: &str, family: Family) -> bool {
    let text = text.trim();
    match family {
        Family::Sql => sql::is_statement(text),
        Family::Command => command::is_command(text),
        Family::Json => text.starts_with(['{', '[']),
    }
}

/// The statement without its values; None if it is of none of these families, or cannot be read.
pub fn sanitize(statement: &str, families: &[Family]) -> Option<String> {
    let text = statement.trim();
    if text.is_empty() {
        return Some(statement.to_owned());
    }
    let has = |family| families.contains(&family);
    if text.starts_with(['{', '[']) {
        return has(Family::Json).then(|| json::sanitize(text)).flatten();
    }
    // Of what could be both, the command loses more.
    if has(Family::Sql)
        && sql::is_statement(text)
        && !(has(Family::Command) && command::is_command(text) && !sql::is_clear(text))
    {
        return sql::sanitize(text);
    }
    has(Family::Command).then(|| command::sanitize(text)).flatten()
}

#[cfg(test)]
mod tests {
    use super::Family::*;
    use super::*;

    #[test]
    fn the_family_is_told_by_the_text() {
        let all = [Sql, Command, Json];
        let cases = [
            ("SELECT * FROM t WHERE id = 5", Some("SELECT * FROM t WHERE id = ?")),
            ("SET user:1 ann", Some("SET ?")),
            ("get mykey", Some("get ?")),
            (r#"{"find": "users", "filter": {"age": 30}}"#, Some(r#"{"find": "?", "filter": {"age": "?"}}"#)),
            ("db.users.find({name: 'ann'})", None),
            ("hunter2", None),
            ("", Some("")),
        ];
        for (statement, expected) in cases {
            assert_eq!(sanitize(statement, &all).as_deref(), expected, "{statement}");
        }
        assert_eq!(sanitize("SELECT 1", &[Json]), None);
        assert_eq!(sanitize("SELECT 1", &[Command]).as_deref(), Some("SELECT ?"));
    }

    #[test]
    fn systems_are_known_by_the_names_that_spans_have() {
        assert_eq!(system_of("PostgreSQL"), Some("sql"));
        assert_eq!(system_of("mongodb"), Some("mongo"));
        assert_eq!(system_of("cassandra"), None);
    }
}
