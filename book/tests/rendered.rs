//! The whole book, rendered.

use std::fs;
use std::path::Path;

#[test]
fn the_book_has_every_page_and_no_link_of_it_leads_nowhere() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("book");
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let book = book::render(repository, &target).unwrap();
    for page in ["index", "docs/index", "docs/rotate", "CONTRIBUTING", "charts/qlik-context-operator/index"] {
        let html = fs::read_to_string(book.join(page).with_extension("html")).unwrap();
        assert!(html.contains("<h1 "), "{page} has no title");
    }
    assert!(book.join("examples/client-secret.yaml").is_file());
}
