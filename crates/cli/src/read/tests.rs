use std::{fs, io::Write as _, path::PathBuf, sync::Arc};

use ::parquet::{
    data_type::{ByteArray, ByteArrayType, DoubleType, FloatType, Int64Type},
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};
use hvs_api::Vector;
use proptest::prelude::*;
use serde_json::json;

use super::*;

struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

fn reader_at(
    path: &Path,
    mapping: &Mapping,
    start: Position,
) -> Result<Box<dyn RowReader>, String> {
    let format = Format::of(path).unwrap();
    open(&Source::File(path.to_owned()), format, mapping, start).map_err(|error| error.to_string())
}

/// All rows as `place: id vector metadata`, or `place! code: message`.
fn rest_of(reader: &mut dyn RowReader) -> Vec<String> {
    let mut rows = Vec::new();
    while let Some(row) = reader.next_row().unwrap() {
        rows.push(describe(&row));
    }
    rows
}

fn describe(row: &Row) -> String {
    match &row.record {
        Ok(record) => {
            let vector = record.vector.as_ref().map(|vector| vector.0.clone()).unwrap_or_default();
            let metadata = record.metadata.clone().map(serde_json::Value::Object);
            let metadata = metadata.map(|value| format!(" {value}")).unwrap_or_default();
            format!("{}: {} {vector:?}{metadata}", row.place, record.id.as_deref().unwrap())
        }
        Err(error) => format!("{}! {}: {error}", row.place, error.code()),
    }
}

fn read_with(path: &Path, mapping: &Mapping) -> Vec<String> {
    rest_of(reader_at(path, mapping, Position::default()).unwrap().as_mut())
}

fn read(path: &Path) -> Vec<String> {
    read_with(path, &Mapping::default())
}

fn open_error(path: &Path, mapping: &Mapping) -> String {
    reader_at(path, mapping, Position::default()).err().unwrap()
}

/// Reads the file once, and again in two parts cut at every row, and expects the same.
fn assert_resumable(path: &Path, mapping: &Mapping) {
    let whole = read_with(path, mapping);
    for cut in 0..=whole.len() {
        let mut first = reader_at(path, mapping, Position::default()).unwrap();
        let mut rows = Vec::new();
        for _ in 0..cut {
            rows.push(describe(&first.next_row().unwrap().unwrap()));
        }
        let position = first.position();
        assert_eq!(position.row, cut as u64);
        let mut second = reader_at(path, mapping, position).unwrap();
        rows.extend(rest_of(second.as_mut()));
        assert_eq!(rows, whole, "cut after {cut} rows");
    }
}

#[test]
fn json_lines_keep_good_rows_and_report_each_bad_one_with_its_line() {
    let fixture = Fixture::new();
    let path = fixture.file(
        "a.jsonl",
        concat!(
            "\u{feff}{\"id\":\"a\",\"vector\":[0.1,2],\"metadata\":{\"name\":\"dog\"}}\r\n",
            "\n",
            "{\"id\":\"b\",\"vector\":[0.1,NaN]}\n",
            "{\"id\":7,\"vector\":[1e-3,-0.0]}\n",
            "not json\n",
            "{\"id\":\"c\"\n",
            "{\"id\":\"d\",\"vector\":[1e999]}\n",
            "{\"vector\":[1]}\n",
            "{\"id\":\"e\"}\n",
            "{\"id\":\"f\",\"vector\":[1],\"metdata\":{}}\n",
            "{\"id\":\"g\",\"id\":\"h\",\"vector\":[1]}\n",
            "{\"id\":1.5,\"vector\":[1]}\n",
            "[1,2]\n",
            "{\"id\":\"i\",\"vector\":[1]} {}\n",
            "{\"id\":\"j\",\"vectors\":{\"title\":[1,2]}}",
        ),
    );
    let rows = read(&path);
    let starts = [
        ":1: a [0.1, 2.0] {\"name\":\"dog\"}",
        ":3! bad_json: expected value",
        ":4: 7 [0.001, -0.0]",
        ":5! bad_json",
        ":6! bad_json: EOF while parsing an object (column 9)",
        ":7! bad_json: number out of range",
        ":8! missing_id",
        ":9! missing_vector",
        ":10! bad_json: field \"metdata\" is not part of a record",
        ":11! bad_json: field \"id\" stands there twice",
        ":12! bad_json: invalid type: floating point `1.5`, expected an id",
        ":13! bad_json: invalid type: sequence",
        ":14! bad_json: trailing characters",
        ":15: j []",
    ];
    assert_eq!(rows.len(), starts.len(), "{rows:#?}");
    for (row, start) in rows.iter().zip(starts) {
        assert!(row.starts_with(start), "{row:?} instead of {start:?}");
    }
    assert_resumable(&path, &Mapping::default());
}

#[test]
fn json_lines_take_other_names_and_the_rest_as_metadata() {
    let fixture = Fixture::new();
    let path = fixture.file(
        "a.jsonl",
        "{\"key\":\"a\",\"embedding\":[1],\"year\":1999,\"metadata\":{\"x\":true}}\n\
         {\"key\":\"b\",\"embedding\":[2],\"x\":1,\"metadata\":{\"x\":true}}\n",
    );
    let mapping =
        Mapping { id: "key".into(), vector: "embedding".into(), rest: true, ..Mapping::default() };
    let rows = read_with(&path, &mapping);
    assert_eq!(rows[0], ":1: a [1.0] {\"x\":true,\"year\":1999}");
    assert!(rows[1].contains("both in the metadata and beside it"), "{}", rows[1]);
}

#[test]
fn a_named_vector_is_filled() {
    let fixture = Fixture::new();
    let path = fixture.file("a.jsonl", "{\"id\":\"a\",\"vector\":[1]}\n");
    let mapping = Mapping { vector_name: "title".into(), ..Mapping::default() };
    let mut reader = reader_at(&path, &mapping, Position::default()).unwrap();
    let record = reader.next_row().unwrap().unwrap().record.unwrap();
    assert_eq!(record.vector, None);
    assert_eq!(record.vectors.unwrap()["title"], Vector(vec![1.0]));
}

#[test]
fn a_line_beyond_the_limit_is_one_bad_row_and_a_line_at_it_is_good() {
    let fixture = Fixture::new();
    let good = "{\"id\":\"a\",\"vector\":[1]}";
    let path = fixture.file("a.jsonl", format!("{good}\n{good} \n{good}\n"));
    let mapping = Mapping { max_row_bytes: good.len() as u64, ..Mapping::default() };
    let rows = read_with(&path, &mapping);
    assert_eq!(rows[0], ":1: a [1.0]");
    assert!(rows[1].starts_with(":2! row_too_long"), "{}", rows[1]);
    assert_eq!(rows[2], ":3: a [1.0]");
    assert_resumable(&path, &mapping);
}

#[test]
fn bytes_that_are_no_text_are_a_bad_row() {
    let fixture = Fixture::new();
    let path = fixture.file("a.jsonl", b"{\"id\":\"\xff\"}\n{\"id\":\"a\",\"vector\":[1]}\n");
    assert_eq!(read(&path), [":1! not_text: the row is not valid UTF-8", ":2: a [1.0]"]);
}

#[test]
fn empty_files() {
    let fixture = Fixture::new();
    assert!(read(&fixture.file("a.jsonl", "")).is_empty());
    assert!(read(&fixture.file("b.jsonl", "\u{feff}\r\n\n")).is_empty());
    assert!(read(&fixture.file("c.csv", "id,vector\n")).is_empty());
    let mapping = Mapping::default();
    assert!(open_error(&fixture.file("d.csv", ""), &mapping).contains("header line"));
    assert!(open_error(&fixture.file("e.npy", ""), &mapping).contains("not a numpy file"));
    assert!(reader_at(&fixture.file("f.parquet", ""), &mapping, Position::default()).is_err());
}

#[test]
fn a_folder_and_a_missing_file_are_said() {
    let fixture = Fixture::new();
    let folder = fixture.folder.path().join("folder.jsonl");
    fs::create_dir(&folder).unwrap();
    assert!(open_error(&folder, &Mapping::default()).contains("directory"));
    let missing = fixture.folder.path().join("missing.csv");
    assert!(open_error(&missing, &Mapping::default()).contains("missing.csv"));
}

#[test]
fn tables_keep_good_rows_and_report_each_bad_one_with_its_line() {
    let fixture = Fixture::new();
    let content = concat!(
        "\u{feff}\"id\",x0,x1,name,year\r\n",
        "a,0.1,2,dog,1999\r\n",
        "b,0.1\r\n",
        "c,0.1,2,cat,2000,more\r\n",
        "\r\n",
        "d,0.1,NaN,ox,\r\n",
        "e,,2,ox,\r\n",
        ",1,2,ox,\r\n",
        "\"f\ng\",1,2,\"a \"\"b\"\",c\",x\r\n",
        "h,1,1e400,ox,1\r\n",
        "i,1,2,,3",
    );
    let path = fixture.file("a.csv", content);
    let mapping =
        Mapping { vector: "x*".into(), json_columns: vec!["year".into()], ..Mapping::default() };
    let rows = read_with(&path, &mapping);
    let starts = [
        ":2: a [0.1, 2.0] {\"name\":\"dog\",\"year\":1999}",
        ":3! ragged_row: the row has 2 cells, but the header names 5 columns",
        ":4! ragged_row: the row has 6 cells",
        ":6! not_finite: coordinate 1 is NaN",
        ":7! not_a_number: coordinate 0 is \"\"",
        ":8! missing_id",
        ":9! bad_json_cell: the cell of column \"year\" is not JSON",
        ":11! not_finite: coordinate 1 is 1e400",
        ":12: i [1.0, 2.0] {\"year\":3}",
    ];
    assert_eq!(rows.len(), starts.len(), "{rows:#?}");
    for (row, start) in rows.iter().zip(starts) {
        assert!(row.starts_with(start), "{row:?} instead of {start:?}");
    }
    assert_resumable(&path, &mapping);
    let unix = fixture.file("b.csv", content.replace("\r\n", "\n"));
    assert_eq!(read_with(&unix, &mapping), rows);
    assert_resumable(&unix, &mapping);
}

#[test]
fn a_table_may_hold_the_vector_in_one_cell() {
    let fixture = Fixture::new();
    let path = fixture.file("a.tsv", "id\tvector\na\t[1, 2]\nb\t1 2\nc\t\n");
    let rows = read(&path);
    assert_eq!(rows[..2], [":2: a [1.0, 2.0]", ":3: b [1.0, 2.0]"]);
    assert!(rows[2].starts_with(":4! missing_vector"), "{}", rows[2]);
}

#[test]
fn a_quotation_mark_without_partner_does_not_fill_the_memory() {
    let fixture = Fixture::new();
    let mut content = "id,vector\na,1\nb,\"1\n".to_owned();
    content.push_str(&"c,2\n".repeat(400_000));
    let path = fixture.file("a.csv", content);
    let mapping = Mapping { max_row_bytes: 1 << 19, ..Mapping::default() };
    let mut reader = reader_at(&path, &mapping, Position::default()).unwrap();
    assert!(reader.next_row().unwrap().unwrap().record.is_ok());
    let error = reader.next_row().unwrap_err().to_string();
    assert!(error.contains("a.csv:3: the row is longer than 524288 bytes"), "{error}");
}

#[test]
fn columns_that_are_not_there_are_an_error_that_names_those_that_are() {
    let fixture = Fixture::new();
    let path = fixture.file("a.csv", "key,x,y\na,1,2\n");
    let error = open_error(&path, &Mapping::default());
    assert!(error.contains("\"id\"") && error.contains("\"key\", \"x\", \"y\""), "{error}");
}

fn npy(descr: &str, order: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

fn f32_bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

#[test]
fn arrays_of_both_widths_with_and_without_ids() {
    let fixture = Fixture::new();
    let narrow = npy("<f4", "False", "(3, 2)", &f32_bytes(&[0.5, 1.0, f32::NAN, 2.0, 3.0, -4.0]));
    let path = fixture.file("a.npy", narrow);
    let expected = [
        " row 0: 0 [0.5, 1.0]",
        " row 1! not_finite: coordinate 0 is NaN, which is not finite in 64 bits",
        " row 2: 2 [3.0, -4.0]",
    ];
    assert_eq!(read(&path), expected);
    assert_resumable(&path, &Mapping::default());

    let ids = fixture.file("ids.txt", "\u{feff}dog\r\n\r\ncat");
    let mapping = Mapping { ids: Some(ids), ..Mapping::default() };
    let rows = read_with(&path, &mapping);
    assert_eq!(rows[0], " row 0: dog [0.5, 1.0]");
    assert!(rows[1].starts_with(" row 1! missing_id"), "{}", rows[1]);
    assert_eq!(rows[2], " row 2: cat [3.0, -4.0]");
    assert_resumable(&path, &mapping);

    let wide: Vec<u8> = [0.1_f64, -1e300].iter().flat_map(|number| number.to_le_bytes()).collect();
    let path = fixture.file("b.npy", npy("<f8", "False", "(1, 2)", &wide));
    assert_eq!(read(&path), [" row 0: 0 [0.1, -1e300]"]);
}

#[test]
fn arrays_that_cannot_be_right_are_refused_before_the_first_row() {
    let fixture = Fixture::new();
    let data = f32_bytes(&[0.0; 4]);
    let whole = npy("<f4", "False", "(2, 2)", &data);
    let error =
        |name: &str, content: &[u8]| open_error(&fixture.file(name, content), &Mapping::default());
    assert!(error("a.npy", &whole[..whole.len() - 1]).contains("cut off"));
    assert!(error("b.npy", &[whole.as_slice(), b"x"].concat()).contains("followed by something"));
    assert!(error("c.npy", &whole[..20]).contains("ends within its header"));
    assert!(error("d.npy", &npy("<f4", "True", "(2, 2)", &data)).contains("Fortran order"));
    assert!(error("e.npy", &npy("<i4", "False", "(2, 2)", &data)).contains("\"<i4\""));
    assert!(error("f.npy", &npy(">f4", "False", "(2, 2)", &data)).contains("big-endian"));
    let huge = npy("<f4", "False", "(18446744073709551615, 2)", &data);
    assert!(error("g.npy", &huge).contains("larger than any file"));
    let wide = npy("<f4", "False", "(1, 18446744073709551615)", &data);
    assert!(error("h.npy", &wide).contains("longer than"));

    let path = fixture.file("i.npy", whole);
    let ids = fixture.file("ids.txt", "a\nb\nc\n");
    let error = open_error(&path, &Mapping { ids: Some(ids), ..Mapping::default() });
    assert!(error.contains("holds 3 ids") && error.contains("has 2 rows"), "{error}");
}

/// Two row groups: lists of floats with a null among them, texts, numbers.
fn parquet_file(path: &Path) {
    let schema = "message points {
        optional binary id (UTF8);
        optional group vector (LIST) { repeated group list { optional float element; } }
        optional int64 year;
        required double x0;
        required double x1;
    }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let file = File::create(path).unwrap();
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(file, schema, properties).unwrap();
    for group in 0..2_i64 {
        let mut columns = writer.next_row_group().unwrap();
        let ids: Vec<ByteArray> =
            ["a", "b"].iter().map(|id| format!("{id}{group}").as_str().into()).collect();
        let mut column = columns.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&ids, Some(&[1, 1, 0]), None).unwrap();
        column.close().unwrap();
        // Row 0: [0.5, 1]; row 1: [2, null]; row 2: [3].
        let mut column = columns.next_column().unwrap().unwrap();
        column
            .typed::<FloatType>()
            .write_batch(&[0.5, 1.0, 2.0, 3.0], Some(&[3, 3, 3, 2, 3]), Some(&[0, 1, 0, 1, 0]))
            .unwrap();
        column.close().unwrap();
        let mut column = columns.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&[1999 + group], Some(&[1, 0, 0]), None).unwrap();
        column.close().unwrap();
        for numbers in [[0.0, 1.0, 2.0], [0.25, 1.25, f64::NAN]] {
            let mut column = columns.next_column().unwrap().unwrap();
            column.typed::<DoubleType>().write_batch(&numbers, None, None).unwrap();
            column.close().unwrap();
        }
        columns.close().unwrap();
    }
    writer.close().unwrap();
}

#[test]
fn parquet_columns_become_records() {
    let fixture = Fixture::new();
    let path = fixture.folder.path().join("a.parquet");
    parquet_file(&path);
    let rows = read(&path);
    assert_eq!(
        rows[0],
        " row 0: a0 [0.5, 1.0] {\"year\":1999,\"x0\":0.0,\"x1\":0.25}".replace(
            "\"year\":1999,\"x0\":0.0,\"x1\":0.25",
            &json!({"year": 1999, "x0": 0.0, "x1": 0.25}).to_string()[1..].replace('}', "")
        )
    );
    assert_eq!(rows[1], " row 1! not_a_number: coordinate 1 is \"null\", which is not a number");
    assert!(rows[2].starts_with(" row 2! missing_id"), "{}", rows[2]);
    assert!(rows[3].starts_with(" row 3: a1 [0.5, 1.0]"), "{}", rows[3]);
    assert_eq!(rows.len(), 6);
    assert_resumable(&path, &Mapping::default());

    let several = Mapping { vector: "x0,x1".into(), ..Mapping::default() };
    let rows = read_with(&path, &several);
    assert!(rows[0].starts_with(" row 0: a0 [0.0, 0.25] {"), "{}", rows[0]);
    assert!(rows[1].starts_with(" row 1: b0 [1.0, 1.25]"), "{}", rows[1]);

    let whole = fs::read(&path).unwrap();
    let cut = fixture.file("b.parquet", &whole[..whole.len() - 9]);
    assert!(open_error(&cut, &Mapping::default()).contains("b.parquet"));
    let mut damaged = whole;
    for byte in damaged.iter_mut().skip(30).take(40) {
        *byte ^= 0x5a;
    }
    let damaged = fixture.file("c.parquet", damaged);
    if let Ok(mut reader) = reader_at(&damaged, &Mapping::default(), Position::default()) {
        // Whatever it says, it ends and does not panic.
        for _ in 0..10 {
            if !matches!(reader.next_row(), Ok(Some(_))) {
                break;
            }
        }
    }
}

#[test]
fn what_is_no_file_is_told() {
    let mapping = Mapping::default();
    let error = open(&Source::StandardInput, Format::Npy, &mapping, Position::default());
    assert!(
        error.err().unwrap().to_string().contains("npy cannot be read from the standard input")
    );
    assert_eq!(Source::from_argument(Path::new("-")), Source::StandardInput);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// No bytes stop a reader, and wherever it is cut, it goes on the same.
    #[test]
    fn any_bytes_are_read_to_the_end(content in "[a1,.\"{}\\[\\]:\\n\\r \u{feff}]{0,60}", kind in 0..3) {
        let fixture = Fixture::new();
        let (name, head) = match kind {
            0 => ("a.jsonl", ""),
            1 => ("a.csv", "id,vector\n"),
            _ => ("a.tsv", "id\tvector\r\n"),
        };
        let path = fixture.file(name, format!("{head}{content}"));
        let whole = read(&path);
        let mut reader = reader_at(&path, &Mapping::default(), Position::default()).unwrap();
        if reader.next_row().unwrap().is_some() {
            let mut second = reader_at(&path, &Mapping::default(), reader.position()).unwrap();
            prop_assert_eq!(&rest_of(second.as_mut())[..], &whole[1..]);
        }
    }

    #[test]
    fn any_bytes_are_no_reason_to_stop_for_binary_formats(content in prop::collection::vec(any::<u8>(), 0..200)) {
        let fixture = Fixture::new();
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.write_all(&content).unwrap();
        let path = fixture.file("a.npy", file);
        let _ = reader_at(&path, &Mapping::default(), Position::default());
    }
}
