//! Which service runs where, by files of the shapes that people have.

use std::collections::BTreeMap;

use super::*;

struct Case {
    files: Vec<(&'static str, &'static str)>,
    text: &'static str,
}

impl Case {
    fn placed(&self) -> Result<BTreeMap<String, Placed>, Faults> {
        let folder = tempfile::tempdir().unwrap();
        let others = [("compose.yaml", self.text), ("nginx.conf", "x")];
        let all = self.files.iter().chain(&others);
        for (path, text) in all {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let tree = Tree::open(folder.path()).unwrap();
        place(&tree, &read(&tree, "compose.yaml", &BTreeMap::new())?)
    }

    /// `NAME=SCOPE`, with `*PORT` behind those that visitors reach.
    #[track_caller]
    fn told(&self) -> String {
        let placed = self.placed().unwrap_or_else(|faults| panic!("{faults}"));
        let one = |(name, placed): (&String, &Placed)| {
            let port = placed.port.map(|port| port.to_string()).unwrap_or_default();
            let public = if placed.public {
                format!("*{port}")
            } else {
                String::new()
            };
            format!("{name}={}{public}", placed.scope)
        };
        placed.iter().map(one).collect::<Vec<_>>().join(" ")
    }
}

const PLAIN: (&str, &str) = ("Dockerfile", "FROM debian\n");
const EXPOSES: (&str, &str) = ("Dockerfile", "FROM debian\nEXPOSE 3000\n");

/// Why a file beside a plain Dockerfile is refused.
fn refused(text: &'static str) -> String {
    let files = vec![PLAIN];
    Case { files, text }.placed().unwrap_err().to_string()
}

#[test]
fn services_are_placed_by_the_first_rule_that_fits() {
    for (files, text, wanted) in [
        // A site behind nginx: the only one with ports is public, though it is not built.
        (
            vec![PLAIN],
            "services:\n  proxy: {image: nginx, ports: ['80:80'], volumes: ['./nginx.conf:/x:ro'], depends_on: [backend]}\n  \
             backend: {build: ., depends_on: [db]}\n  db: {image: 'postgres:16', volumes: ['d:/var/lib/postgresql/data'], expose: [5432]}\nvolumes: {d: }\n",
            "backend=slot db=shared proxy=slot*80",
        ),
        // Web, worker, migration, queue, with a database that publishes its port.
        (
            vec![PLAIN],
            "services:\n  web: {build: ., ports: ['8000:8000'], depends_on: {migrate: {condition: service_completed_successfully}}}\n  \
             worker: {build: ., command: work, depends_on: [redis]}\n  migrate: {build: ., depends_on: [db]}\n  \
             redis: {image: 'redis:7', ports: ['6379:6379']}\n  db: {image: mariadb, ports: ['3306:3306']}\n",
            "db=shared migrate=job redis=shared web=slot*8000 worker=background",
        ),
        // A redis that is built, and one known by its volume alone.
        (
            vec![PLAIN, ("redis/Dockerfile", "FROM redis:7\n")],
            "services:\n  web: {build: ., ports: [80]}\n  cache: {build: redis, ports: [6379]}\n  own: {image: 'x/y', volumes: ['d:/var/lib/mysql']}\nvolumes: {d: }\n",
            "cache=shared own=shared web=slot*80",
        ),
        // A port of the Dockerfile alone.
        (vec![EXPOSES], "services: {web: {build: .}}\n", "web=slot*3000"),
        // Several with ports, of which one is built.
        (
            vec![PLAIN],
            "services:\n  web: {build: ., ports: [80]}\n  admin: {image: adminer, ports: [8080], depends_on: [db]}\n  db: {image: postgres}\n",
            "admin=slot db=shared web=slot*80",
        ),
        // The file says which ones, and where.
        (
            vec![PLAIN],
            "services:\n  vote: {build: ., ports: [80], x-deployer: {public: true}}\n  result: {build: ., ports: [81], x-deployer: {public: true}}\n  \
             timer: {build: ., ports: [82], x-deployer: {scope: background}}\n  sut: {build: .}\n",
            "result=slot*81 sut=job timer=background vote=slot*80",
        ),
        // What is image-only: with a volume, needing a slot's service, and neither.
        (
            vec![PLAIN],
            "services:\n  web: {build: ., ports: [80]}\n  files: {image: 'x/files', volumes: ['f:/f']}\n  edge: {image: varnish, links: [web]}\n  \
             mail: {image: 'x/mail'}\nvolumes: {f: }\n",
            "edge=slot files=shared mail=slot web=slot*80",
        ),
    ] {
        assert_eq!(Case { files, text }.told(), wanted, "{text}");
    }
}

#[test]
fn nobody_is_guessed_to_be_public_and_the_lines_that_choose_are_printed() {
    for (text, what, lines) in [
        (
            "services:\n  a: {build: ., ports: [80]}\n  b: {build: ., ports: [81]}\n",
            "compose.yaml:2:3: several services could be what visitors reach: a, b",
            "  a:\n    x-deployer: { public: true }",
        ),
        (
            "services:\n  a: {build: .}\n",
            "compose.yaml:2:3: visitors reach nothing: a has no ports",
            "  a:\n    x-deployer: { public: true }",
        ),
        (
            "services:\n  db: {image: postgres, ports: [5432]}\n",
            "compose.yaml:2:3: no service could be what visitors reach",
            "  db:\n    x-deployer: { public: true }",
        ),
    ] {
        let told = refused(text);
        assert!(told.contains(what) && told.contains(lines), "{told}");
    }
}

#[test]
fn no_writable_volume_is_in_both_slots_unless_the_file_says_so() {
    let case = |own: &'static str| {
        let text = format!(
            "services:\n  web: {{build: ., ports: [80], volumes: ['u:/u'] {own}}}\nvolumes: {{u: }}\n"
        );
        let text: &'static str = text.leak();
        Case {
            files: vec![PLAIN],
            text,
        }
    };
    let told = case("").placed().unwrap_err().to_string();
    assert!(
        told.contains("compose.yaml:2:3: service web would run in both slots at once"),
        "{told}"
    );
    assert!(
        told.contains("  web:\n    x-deployer: { scope: shared }"),
        "{told}"
    );
    assert_eq!(case(", x-deployer: {scope: slot}").told(), "web=slot*80");
    assert_eq!(case(", x-deployer: {scope: shared}").told(), "web=shared*80");
    for (text, what) in [
        (
            "services:\n  web: {build: ., ports: [80]}\n  db: {image: postgres, volumes: ['d:/d'], x-deployer: {scope: slot}}\nvolumes: {d: }\n",
            "service db would run in both slots at once",
        ),
        (
            "services:\n  web: {build: ., ports: [80]}\n  db: {image: postgres, volumes: ['d:/d'], scale: 2}\nvolumes: {d: }\n",
            "service db would run 2 times, all writing to the volume d",
        ),
        (
            "services:\n  web: {build: ., ports: [80]}\n  db: {image: postgres, depends_on: [web]}\n",
            "service db is shared, and would wait for web, which is slot",
        ),
    ] {
        let told = refused(text);
        assert!(told.contains(what), "{told}");
    }
}
