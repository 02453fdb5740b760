use std::os::unix::fs::symlink;
use std::time::Duration;

use deployer::engine::{BuilderKind, ContextError, Engine, EngineError};
use deployer::model::{Builder, EngineSettings};

use super::support::{Place, Tag, base, build, docker, path, request, tree, until};

async fn engines() -> [(BuilderKind, Engine); 2] {
    let with = |builder| EngineSettings {
        builder,
        ..Place::new().settings.clone()
    };
    [
        (
            BuilderKind::Buildkit,
            Engine::connect(&with(Builder::Buildkit)).await.unwrap(),
        ),
        (
            BuilderKind::Classic,
            Engine::connect(&with(Builder::Classic)).await.unwrap(),
        ),
    ]
}

#[tokio::test]
async fn either_builder_builds_with_arguments_labels_and_target_and_tells_its_lines() {
    let dockerfile = format!(
        "FROM {} AS first\nARG WORD\nARG OFFERED=default WON\nRUN echo \"said $WORD $OFFERED $WON\"; printf '\\033[31mred\\033[0m\\n'\nEXPOSE 8080 53/udp\n\
         HEALTHCHECK CMD true\nFROM first AS second\nRUN exit 1\n",
        base()
    );
    let folder = tree(&[("Dockerfile", &dockerfile)]);
    for (kind, engine) in engines().await {
        let tag = Tag::new();
        let mut request = request(folder.path(), &tag.0);
        request.target = Some("first".to_owned());
        request.args.insert("WORD".to_owned(), format!("{kind:?}"));
        request.args.insert("WON".to_owned(), "won".to_owned());
        for name in ["OFFERED", "WON", "UNDECLARED"] {
            request.offered.insert(name.to_owned(), "offered".to_owned());
        }
        request
            .labels
            .insert("org.opencontainers.image.title".to_owned(), "shop".to_owned());
        let (built, lines) = build(&engine, &request).await;
        let id = built.unwrap_or_else(|error| panic!("{kind:?}: {error}\n{}", lines.join("\n")));
        let all = lines.join("\n");
        assert!(
            all.contains(&format!("said {kind:?} offered won")) && all.contains("RUN echo"),
            "{all}"
        );
        assert!(!all.contains("UNDECLARED"), "{all}");
        assert!(!all.contains('\x1b'), "{all}");
        let facts = engine.image(&tag.0).await.unwrap().unwrap();
        assert_eq!(facts.id, id, "{kind:?}");
        assert_eq!(facts.exposed, [8080]);
        assert!(facts.healthcheck.is_some() && facts.size > 0);
        let label = docker(&[
            "inspect",
            "-f",
            "{{index .Config.Labels \"org.opencontainers.image.title\"}}",
            &tag.0,
        ]);
        assert_eq!(label.trim(), "shop");

        // What no Dockerfile declares is no part of what the cache goes by.
        request
            .offered
            .insert("UNDECLARED".to_owned(), "another".to_owned());
        let (again, lines) = build(&engine, &request).await;
        assert_eq!(again.unwrap(), id, "{kind:?}");
        assert!(
            lines.join("\n").to_lowercase().contains("cache"),
            "{kind:?}: {lines:?}"
        );
    }
}

#[tokio::test]
async fn contexts_of_ended_builds_are_forgotten_and_what_they_made_is_not() {
    let folder = tree(&[(
        "Dockerfile",
        &format!("FROM {}\nCOPY Dockerfile /copied\n", base()),
    )]);
    let [(_, engine), _] = engines().await;
    let tag = Tag::new();
    let request = request(folder.path(), &tag.0);
    build(&engine, &request).await.0.unwrap();
    engine.forget_contexts(Duration::from_secs(3600)).await.unwrap();
    let cache = docker(&["system", "df", "-v", "--format", "{{json .BuildCache}}"]);
    assert!(
        cache.contains("http://build-context-"),
        "a fresh context must stay"
    );

    let forgotten = engine.forget_contexts(Duration::ZERO).await.unwrap();

    assert!(forgotten > 0, "the context of a build that has ended must go");
    let (again, lines) = build(&engine, &request).await;
    again.unwrap();
    assert!(lines.iter().any(|line| line.contains("CACHED")), "{lines:?}");
}

#[tokio::test]
async fn a_failing_step_is_told_with_its_code_and_last_lines() {
    let dockerfile = format!("FROM {}\nRUN echo one; echo two >&2; exit 7\n", base());
    let folder = tree(&[("Dockerfile", &dockerfile)]);
    for (kind, engine) in engines().await {
        let (built, lines) = build(&engine, &request(folder.path(), &Tag::new().0)).await;
        match built.unwrap_err() {
            EngineError::Build { step, code, last, .. } => {
                assert!(
                    step.as_ref().unwrap().contains("RUN echo one"),
                    "{kind:?}: {step:?}"
                );
                assert_eq!(code, Some(7), "{kind:?}");
                // The two streams come in no order.
                assert!(
                    last == ["one", "two"] || last == ["two", "one"],
                    "{kind:?}: {last:?}"
                );
                assert!(lines.iter().any(|line| line.ends_with("two")), "{lines:?}");
            }
            other => panic!("{kind:?}: {other}"),
        }
    }
}

#[tokio::test]
async fn a_dockerfile_with_a_mistake_and_a_missing_base_are_build_failures() {
    for (kind, engine) in engines().await {
        for (dockerfile, wanted) in [
            ("FROM scratch\nCPOY a b\n", "cpoy"),
            ("FROM 127.0.0.1:9/none:1\n", "127.0.0.1:9"),
            ("FROM scratch\nCOPY nothing /\n", "nothing"),
        ] {
            let folder = tree(&[("Dockerfile", dockerfile)]);
            let (built, _) = build(&engine, &request(folder.path(), &Tag::new().0)).await;
            let error = built.unwrap_err();
            assert!(matches!(error, EngineError::Build { .. }), "{kind:?}: {error:?}");
            assert!(
                error.to_string().to_lowercase().contains(wanted),
                "{kind:?}: {error}"
            );
        }
    }
}

#[tokio::test]
async fn a_frontend_that_cannot_be_fetched_is_told_with_the_line_that_wants_it() {
    let [(_, engine), _] = engines().await;
    let folder = tree(&[(
        "Dockerfile",
        &format!("# syntax=127.0.0.1:9/frontend:1\nFROM {}\n", base()),
    )]);
    let error = build(&engine, &request(folder.path(), &Tag::new().0))
        .await
        .0
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("Hint: the line `# syntax=127.0.0.1:9/frontend:1`"),
        "{error}"
    );
}

#[tokio::test]
async fn what_the_classic_builder_does_not_know_is_told_with_the_key_to_set() {
    let [_, (_, classic)] = engines().await;
    for (line, wanted) in [
        ("RUN <<EOF\necho hi\nEOF", "knows no heredocs"),
        ("COPY --link a /", "knows no `--link`"),
        ("RUN --mount=type=cache,target=/x true", "knows no `--mount`"),
    ] {
        let folder = tree(&[("Dockerfile", &format!("FROM {}\n{line}\n", base())), ("a", "a")]);
        let (built, _) = build(&classic, &request(folder.path(), &Tag::new().0)).await;
        let error = built.unwrap_err().to_string();
        assert!(
            error.contains(wanted) && error.contains("`engine.builder`"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_build_that_the_engine_refuses_at_once_ends_at_once_however_large_its_context() {
    for (kind, engine) in engines().await {
        let folder = tree(&[("Dockerfile", "FROM scratch\n")]);
        std::fs::File::create(path(&folder, "large"))
            .unwrap()
            .set_len(1 << 30)
            .unwrap();
        let begun = std::time::Instant::now();
        let error = build(&engine, &request(folder.path(), "NO:name"))
            .await
            .0
            .unwrap_err();
        assert!(
            error.to_string().contains("invalid reference format"),
            "{kind:?}: {error}"
        );
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{kind:?}: {:?}",
            begun.elapsed()
        );
    }
}

#[tokio::test]
async fn a_context_that_cannot_be_sent_is_told_before_the_engine_is_asked() {
    let engine = Place::new().engine().await;
    let failed = async |files: &[(&str, &str)], change: &dyn Fn(&mut deployer::engine::BuildRequest)| {
        let folder = tree(files);
        symlink("/etc", path(&folder, "out")).unwrap();
        symlink("/etc/passwd", path(&folder, "passwd")).unwrap();
        let mut request = request(folder.path(), "deployer-test:none");
        change(&mut request);
        match build(&engine, &request).await.0.unwrap_err() {
            EngineError::Context(error) => error,
            other => panic!("{other}"),
        }
    };
    let none = failed(&[("a", "")], &|_| {}).await;
    assert!(matches!(none, ContextError::NoDockerfile(_)), "{none}");
    for empty in ["", "\n  \n# only a comment\n"] {
        let error = failed(&[("Dockerfile", empty)], &|_| {}).await;
        assert!(matches!(error, ContextError::EmptyDockerfile(_)), "{error}");
    }
    for outside in ["../Dockerfile", "/etc/passwd", "passwd", "out/passwd"] {
        let error = failed(&[], &|request| request.dockerfile = outside.to_owned()).await;
        assert!(
            matches!(error, ContextError::Outside { .. }),
            "{outside}: {error}"
        );
    }
    let error = failed(&[], &|request| request.context.push("out")).await;
    assert!(matches!(error, ContextError::Outside { .. }), "{error}");
    let error = failed(&[], &|request| request.context.push("gone")).await;
    assert!(matches!(error, ContextError::NoContext(_)), "{error}");
    let error = failed(
        &[("Dockerfile", "FROM scratch"), (".dockerignore", "a\n[\n")],
        &|_| {},
    )
    .await;
    assert!(error.to_string().contains(".dockerignore: line 2"), "{error}");
    let folder = tree(&[("Dockerfile", "FROM scratch")]);
    symlink("/etc/passwd", path(&folder, ".dockerignore")).unwrap();
    let error = build(&engine, &request(folder.path(), "deployer-test:none"))
        .await
        .0
        .unwrap_err();
    assert!(
        matches!(error, EngineError::Context(ContextError::Outside { .. })),
        "{error}"
    );
}

#[tokio::test]
async fn dropping_a_build_cancels_it_at_the_engine() {
    for (kind, engine) in engines().await {
        let seconds = 100_000 + std::process::id() * 2 + u32::from(kind == BuilderKind::Classic);
        let command = format!("sleep {seconds}");
        let folder = tree(&[(
            "Dockerfile",
            &format!("FROM {}\nRUN echo begun; {command}\n", base()),
        )]);
        let request = request(folder.path(), "deployer-test:cancelled");
        let (begun, mut has_begun) = tokio::sync::mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            engine
                .build(&request, &mut |line| _ = begun.send(line.to_owned()))
                .await
        });
        let wait = async {
            while let Some(line) = has_begun.recv().await {
                if line.ends_with("begun") && !line.contains("RUN") {
                    break;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap();
        assert!(runs(&command), "{kind:?}");
        task.abort();
        let _ = task.await;
        until("the build's process is gone", || !runs(&command));
    }
}

fn runs(command: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
        .any(|line| {
            String::from_utf8_lossy(&line)
                .trim_end_matches('\0')
                .replace('\0', " ")
                .ends_with(command)
        })
}
