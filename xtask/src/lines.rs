//! The output of a program, line by line, for as long as it says something.

use std::{
    io::{self, BufRead, BufReader, Read},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

/// Hands over each line of `output`, without its end, until the end of it; or until nothing has
/// come for as long as `silence`, when the answer is no. What then comes later is not read.
///
/// # Errors
/// The output cannot be read, or `see` fails.
pub(crate) fn until_silent(
    output: impl Read + Send + 'static,
    silence: Duration,
    mut see: impl FnMut(&str) -> io::Result<()>,
) -> io::Result<bool> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n') {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    loop {
        match receiver.recv_timeout(silence) {
            Ok(line) => see(&String::from_utf8_lossy(&line?))?,
            Err(RecvTimeoutError::Disconnected) => return Ok(true),
            Err(RecvTimeoutError::Timeout) => return Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(output: impl Read + Send + 'static, silence: Duration) -> (Vec<String>, bool) {
        let mut lines = Vec::new();
        let ended = until_silent(output, silence, |line| {
            lines.push(line.to_owned());
            Ok(())
        });
        (lines, ended.unwrap())
    }

    #[test]
    fn all_lines_are_seen_to_the_end() {
        let (lines, ended) = seen(&b"one\ntwo\nlast"[..], Duration::from_mins(1));
        assert_eq!(lines, ["one", "two", "last"]);
        assert!(ended);
    }

    #[test]
    fn silence_ends_the_wait() {
        let (reader, mut writer) = io::pipe().unwrap();
        io::Write::write_all(&mut writer, b"one\n").unwrap();
        let (lines, ended) = seen(reader, Duration::from_secs(2));
        assert_eq!(lines, ["one"]);
        assert!(!ended, "the other end is still held");
        drop(writer);
    }
}
