//! What PAM's modules say to a user who comes in with a key, as far as that can be told from their files alone.

use std::fs;
use std::path::{Path, PathBuf};

/// The service as which sshd asks PAM.
const SERVICE: &str = "sshd";
/// As deep as files of PAM include each other.
const DEPTH_MAX: usize = 8;
/// pam_access' rules.
const ACCESS: &str = "etc/security/access.conf";

/// Who comes in.
pub(super) struct Who<'a> {
    pub(super) user: &'a str,
    pub(super) groups: &'a [String],
    pub(super) shell: &'a Path,
}

/// What keeps `who` out, by the files below `root`, each with what removes it.
pub(super) fn obstacles(root: &Path, uses_pam: bool, who: &Who) -> Vec<String> {
    let mut told = Vec::new();
    let modules = if uses_pam {
        account_modules(root, SERVICE, 0)
    } else {
        Vec::new()
    };
    let asks = |name: &str| modules.iter().find(|module| module.name == name);
    // Without PAM sshd looks at this file by itself.
    if (!uses_pam || asks("pam_nologin").is_some()) && root.join("etc/nologin").exists() {
        told.push("/etc/nologin is there, which keeps out everybody but root: `rm /etc/nologin`".to_owned());
    }
    if asks("pam_shells").is_some() && !is_listed(root, who.shell) {
        let shell = who.shell.display();
        told.push(format!(
            "PAM lets in only whose login shell is in /etc/shells (pam_shells in /etc/pam.d/{SERVICE}), and {shell} is not: \
             `echo {shell} >>/etc/shells`"
        ));
    }
    if let Some(access) = asks("pam_access") {
        let path = access.argument("accessfile=").unwrap_or(ACCESS);
        let path = Path::new(path.trim_start_matches('/'));
        let text = fs::read_to_string(root.join(path)).unwrap_or_default();
        if let Some(line) = refusing(&text, who) {
            told.push(format!(
                "PAM keeps {0} out by the line `{line}` of /{1}: put `+:{0}:ALL` above it",
                who.user,
                path.display()
            ));
        }
    }
    told
}

/// A module that PAM asks whether somebody who is known may come in.
struct Module {
    name: String,
    arguments: Vec<String>,
}

impl Module {
    fn argument(&self, name: &str) -> Option<&str> {
        self.arguments.iter().find_map(|word| word.strip_prefix(name))
    }
}

fn account_modules(root: &Path, service: &str, depth: usize) -> Vec<Module> {
    let folder = |folder: &str| root.join(folder).join(service);
    let paths: [PathBuf; 2] = [folder("etc/pam.d"), folder("usr/lib/pam.d")];
    let text = paths.iter().find_map(|path| fs::read_to_string(path).ok());
    if depth > DEPTH_MAX {
        return Vec::new();
    }
    let text = text.unwrap_or_default().replace("\\\n", " ");
    text.lines()
        .flat_map(|line| modules_of(root, line, depth))
        .collect()
}

fn modules_of(root: &Path, line: &str, depth: usize) -> Vec<Module> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let included = |service: &str| account_modules(root, service, depth + 1);
    if let Some(service) = line.strip_prefix("@include") {
        return included(service.trim());
    }
    let Some((kind, rest)) = line.split_once(char::is_whitespace) else {
        return Vec::new();
    };
    if kind.trim_start_matches('-') != "account" {
        return Vec::new();
    }
    let rest = rest.trim_start();
    // `[success=1 default=ignore]` has blanks in it.
    let end = match rest.starts_with('[') {
        true => rest.find(']').map(|at| at + 1),
        false => rest.find(char::is_whitespace),
    };
    let (control, rest) = rest.split_at(end.unwrap_or(rest.len()));
    let mut words = rest.split_whitespace();
    let Some(module) = words.next() else {
        return Vec::new();
    };
    match control {
        "include" | "substack" => included(module),
        "optional" => Vec::new(),
        _ => vec![Module {
            name: module
                .rsplit('/')
                .next()
                .unwrap_or(module)
                .trim_end_matches(".so")
                .to_owned(),
            arguments: words.map(str::to_owned).collect(),
        }],
    }
}

fn is_listed(root: &Path, shell: &Path) -> bool {
    let text = fs::read_to_string(root.join("etc/shells")).unwrap_or_default();
    text.lines().any(|line| Path::new(line.trim()) == shell)
}

/// The line of pam_access' rules that refuses `who` from wherever: the first one that is about the user counts. One that
/// is for some places alone may let the user in.
fn refusing(text: &str, who: &Who) -> Option<String> {
    for line in text.lines().map(str::trim) {
        let fields: Vec<&str> = line.splitn(3, ':').map(str::trim).collect();
        let [permission, users, from] = fields[..] else {
            continue;
        };
        if line.starts_with('#') || !is_among(users, who) {
            continue;
        }
        let is_from_anywhere = from.split_whitespace().eq(["ALL"]);
        if permission == "-" && is_from_anywhere {
            return Some(line.to_owned());
        }
        if permission == "+" {
            return None;
        }
    }
    None
}

/// Whether `who` is among the users of a rule: names, groups (bare or in brackets), `ALL`, and exceptions.
fn is_among(users: &str, who: &Who) -> bool {
    let words: Vec<&str> = users
        .split([' ', '\t', ','])
        .filter(|word| !word.is_empty())
        .collect();
    let mut parts = words.split(|word| *word == "EXCEPT");
    let is_in = |part: &[&str]| {
        part.iter().any(|word| {
            let group = word.trim_start_matches('(').trim_end_matches(')');
            *word == "ALL" || *word == who.user || who.groups.iter().any(|one| one == group)
        })
    };
    let is_first = parts.next().is_some_and(is_in);
    // `A EXCEPT B EXCEPT C` is `A EXCEPT (B EXCEPT C)`.
    let rest: Vec<bool> = parts.map(is_in).collect();
    is_first
        && !rest
            .into_iter()
            .rfold(false, |excepted, is_in| is_in && !excepted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(files: &[(&str, &str)], uses_pam: bool) -> String {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let who = Who {
            user: "deploy",
            groups: &["deploy".to_owned(), "docker".to_owned()],
            shell: Path::new("/usr/local/lib/deployer/deployer-shell"),
        };
        obstacles(root.path(), uses_pam, &who).join("\n")
    }

    #[test]
    fn modules_are_found_however_they_are_included() {
        let deeper = (
            "etc/pam.d/common-account",
            "account [success=1 default=ignore] pam_shells.so\n",
        );
        for main in [
            "@include common-account\n",
            "account include common-account\n",
            "-account\tsubstack common-account # all\n",
            "account required \\\n /lib/security/pam_shells.so\n",
        ] {
            let told = told(&[("etc/pam.d/sshd", main), deeper], true);
            assert!(told.contains(">>/etc/shells`"), "{main}: {told}");
        }
        for main in [
            "auth required pam_shells.so\n",
            "# account required pam_shells.so\n",
        ] {
            assert_eq!(told(&[("etc/pam.d/sshd", main)], true), "", "{main}");
        }
        let listed = ("etc/shells", "/bin/sh\n/usr/local/lib/deployer/deployer-shell\n");
        let main = ("etc/pam.d/sshd", "account required pam_shells.so\n");
        assert_eq!(told(&[main, listed], true), "");
        assert_eq!(told(&[main], false), "");
    }

    #[test]
    fn nologin_counts_where_it_is_asked_for() {
        let file = ("etc/nologin", "later\n");
        let main = ("etc/pam.d/sshd", "account required pam_nologin.so\n");
        assert!(told(&[file, main], true).contains("rm /etc/nologin"));
        assert!(told(&[file], false).contains("rm /etc/nologin"));
        assert_eq!(told(&[file], true), "");
    }

    #[test]
    fn the_first_rule_about_the_user_decides() {
        let main = ("etc/pam.d/sshd", "account required pam_access.so\n");
        for (rules, is_out) in [
            ("", false),
            ("-:ALL:ALL\n", true),
            ("# -:ALL:ALL\n", false),
            ("+:deploy:ALL\n-:ALL:ALL\n", false),
            ("+ : (docker) : ALL\n- : ALL : ALL\n", false),
            ("- : ALL EXCEPT root admin : ALL\n", true),
            ("- : ALL EXCEPT root (docker) : ALL\n", false),
            ("- : deploy : tty1\n", false),
            ("- : bob : ALL\n", false),
        ] {
            let told = told(&[main, (ACCESS, rules)], true);
            assert_eq!(
                told.contains("`+:deploy:ALL` above it"),
                is_out,
                "{rules}: {told}"
            );
        }
        let elsewhere = (
            "etc/pam.d/sshd",
            "account required pam_access.so accessfile=/etc/mine.conf\n",
        );
        let told = told(&[elsewhere, ("etc/mine.conf", "-:ALL:ALL\n")], true);
        assert!(told.contains("of /etc/mine.conf"), "{told}");
    }
}
