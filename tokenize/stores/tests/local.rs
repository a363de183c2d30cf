//! Folders of this machine.

use std::fs;
use std::io::Read;

use parquet::file::reader::{ChunkReader, Length};
use stores::{Error, Object, Store};

fn paths(objects: &[Object]) -> Vec<&str> {
    objects.iter().map(|object| object.path.as_str()).collect()
}

#[test]
fn written_listed_read_and_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("not yet");
    let store = Store::open(root.to_str().unwrap()).unwrap();
    assert_eq!(store.local(), Some(root.as_path()));
    assert_eq!(
        (store.revision(), store.list("").unwrap()),
        (None, Vec::new())
    );

    store.write("b/2.txt", b"two").unwrap();
    store.write("b/2.txt", b"deux").unwrap();
    store.write("a.txt", b"one").unwrap();
    store.write("b/.hidden", b"").unwrap();
    store.write(".hidden/x", b"").unwrap();
    store.upload("b.c/3.txt", &root.join("a.txt")).unwrap();
    let objects = store.list("").unwrap();
    assert_eq!(paths(&objects), ["a.txt", "b.c/3.txt", "b/2.txt"]);
    assert_eq!((objects[2].size, objects[2].etag.as_ref()), (4, None));
    assert_eq!(paths(&store.list("b").unwrap()), ["b/2.txt"]);
    assert_eq!(paths(&store.list("b/").unwrap()), ["b/2.txt"]);
    assert_eq!(paths(&store.list("a.txt").unwrap()), [""; 0]);
    let left = fs::read_dir(root.join("b")).unwrap().count();
    assert_eq!(left, 2, "nothing partial is left");

    assert_eq!(store.read("b/2.txt").unwrap().unwrap(), b"deux");
    assert_eq!(store.transferred(), 4);
    assert_eq!(store.read("b").unwrap(), None);
    assert_eq!(store.read("a.txt/x").unwrap(), None);
    let random = store.random(&objects[2]).unwrap();
    assert_eq!(
        (random.len(), &random.get_bytes(1, 3).unwrap()[..]),
        (4, &b"eux"[..])
    );
    let mut rest = String::new();
    random
        .get_read(2)
        .unwrap()
        .read_to_string(&mut rest)
        .unwrap();
    assert_eq!(rest, "ux");

    store.delete("b/2.txt").unwrap();
    store.delete("b/2.txt").unwrap();
    assert_eq!(store.head("b/2.txt").unwrap(), None);
}

#[test]
fn a_file_of_another_size_than_listed_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().to_str().unwrap()).unwrap();
    store.write("x", b"long").unwrap();
    let object = store.head("x").unwrap().unwrap();
    store.write("x", b"longer").unwrap();
    let error = store.reader(&object).err().unwrap();
    assert!(matches!(error, Error::Changed { size: 4, .. }), "{error}");
    assert!(store.random(&object).is_err());
}

#[test]
fn a_failed_write_leaves_the_old_file_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().to_str().unwrap()).unwrap();
    store.write("x", b"old").unwrap();
    let error = store
        .upload("x", &folder.path().join("absent"))
        .unwrap_err();
    assert!(error.to_string().starts_with("cannot read "), "{error}");
    // a folder can be opened, but not read
    let error = store.upload("x", folder.path()).unwrap_err();
    assert!(error.to_string().starts_with("cannot write "), "{error}");
    fs::create_dir(folder.path().join("taken")).unwrap();
    let error = store.write("taken", b"").unwrap_err();
    assert!(error.to_string().starts_with("cannot write "), "{error}");
    assert_eq!(store.read("x").unwrap().unwrap(), b"old");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[cfg(unix)]
#[test]
fn links_are_followed_but_not_in_circles() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::create_dir(folder.path().join("outside")).unwrap();
    fs::write(folder.path().join("outside/x"), "x").unwrap();
    fs::write(root.join("a/b/y"), "y").unwrap();
    symlink("../../..", root.join("a/b/up")).unwrap();
    symlink(folder.path().join("outside"), root.join("one")).unwrap();
    symlink(folder.path().join("outside"), root.join("two")).unwrap();
    let store = Store::open(root.to_str().unwrap()).unwrap();
    let objects = store.list("").unwrap();
    let found = paths(&objects);
    for path in ["a/b/y", "one/x", "two/x", "a/b/up/outside/x"] {
        assert!(found.contains(&path), "{path} in {found:?}");
    }
    assert!(
        found.iter().all(|path| !path.starts_with("a/b/up/root")),
        "{found:?}"
    );
    symlink("nowhere", root.join("broken")).unwrap();
    let error = store.list("").unwrap_err().to_string();
    assert!(error.contains("broken"), "{error}");
}

#[cfg(unix)]
#[test]
fn names_that_are_not_utf8_are_errors() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let name = std::ffi::OsStr::from_bytes(b"a\xff.wav");
    fs::write(folder.path().join(name), "").unwrap();
    let store = Store::open(folder.path().to_str().unwrap()).unwrap();
    let error = store.list("").unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("the name is not UTF-8; rename the file"),
        "{error}"
    );
}

#[test]
fn locations() {
    let folder = tempfile::tempdir().unwrap();
    let spaced = folder.path().join("a b");
    let url = format!("file://{}", spaced.to_str().unwrap().replace(' ', "%20"));
    let store = Store::open(&url).unwrap();
    assert_eq!(
        (store.location(), store.local()),
        (url.as_str(), Some(spaced.as_path()))
    );
    for (location, said) in [
        ("", "give `.`"),
        (
            "ftp://host/x",
            "`ftp` is unknown; give a folder, file://, s3://",
        ),
        ("s3:///x", "give s3://BUCKET/PREFIX"),
        ("gs://bucket/a//b", "give gs://BUCKET/PREFIX"),
        ("file://host/x", "give file:///FOLDER"),
        ("http://", "give https://HOST/FOLDER"),
        ("https://host/x?y=z", "give https://HOST/FOLDER"),
        ("hf://models/a/b", "give hf://datasets/ORG/NAME"),
    ] {
        let text = Store::open(location).err().unwrap().to_string();
        assert!(text.starts_with(location) && text.contains(said), "{text}");
    }
}

#[test]
fn paths_that_name_no_object() {
    let store = Store::open("somewhere").unwrap();
    for path in [
        "",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a//b",
        "a/",
        ".",
        "a\0b",
    ] {
        let error = store.read(path).unwrap_err();
        assert!(matches!(error, Error::Path { .. }), "{path}: {error}");
        assert!(store.write(path, b"").is_err() && store.delete(path).is_err());
    }
    assert!(store.list("../x").is_err());
}

#[test]
fn stores_are_shared_by_threads() {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    fn sent<T: Send + 'static>() {}
    shared::<Store>();
    shared::<stores::Random>();
    sent::<stores::Reader>();
}
