//! Pictures of a terminal show what the programs print.

use serde_json::Value;

use super::pages::read;

/// The lines of a picture of this class, as text.
fn lines(picture: &str, class: &str) -> Vec<String> {
    let begin = format!("<text class=\"{class}\"");
    let texts = picture.split(&begin).skip(1);
    let texts = texts.map(|text| text.split_once('>').unwrap().1.split("</text>").next().unwrap());
    let plain = |text: &str| text.replace("<tspan class=\"ok\">", "").replace("</tspan>", "");
    texts.map(|text| plain(text).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")).collect()
}

#[test]
fn the_terminal_in_the_readme_shows_what_init_and_get_print() {
    let picture = read("docs/terminal.svg");
    assert!(read("README.md").contains("](docs/terminal.svg)"));
    assert_eq!(lines(&picture, "cmd"), ["$ kubectl qlik init acme", "$ kubectl get qctx"]);

    let printed = read("kubectl-qlik/tests/terminal/golden/tutorial.txt").replace("tutorial.eu.", "acme.eu.");
    let printed: Vec<_> = printed.lines().collect();
    let shown = lines(&picture, "out");
    let places: Vec<_> =
        shown.iter().map(|line| printed.iter().position(|printed| *printed == line.as_str())).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{shown:#?}\n{places:?}");
    assert!(shown.len() > 10);

    let crd: Value = serde_saphyr::from_str(&read("crds/qlikcontexts.yaml")).unwrap();
    let columns = crd["spec"]["versions"][0]["additionalPrinterColumns"].as_array().unwrap().iter();
    let names = columns.filter(|column| column["priority"].is_null()).map(|column| column["name"].as_str().unwrap());
    let names: Vec<_> = ["Name"].into_iter().chain(names).map(str::to_uppercase).collect();
    let table = lines(&picture, "table");
    assert_eq!(table[0].split_whitespace().collect::<Vec<_>>(), names);
    assert!(read("docs/getting-started.md").contains(&table.join("\n")), "the tutorial shows another table");
}
