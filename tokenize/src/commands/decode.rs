//! `tokenize decode`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use audio::Audio;
use encodec_rs::{Codec, Codes, Options};
use shards::{CodecInfo, Document, ShardReader};

use crate::error::{Error, Result};

const EXAMPLES: &str = "\
Examples:
  tokenize decode data/recordings/part-00000.parquet --id en/interview-01 --out interview.wav
  tokenize decode data/recordings/part-00000.parquet --id en/interview-01 --out interview.wav --codec codecs/mimi";

/// Ids listed when an unknown one is asked for.
const LISTED: usize = 5;

/// Turn a document's codes back into audio
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A shard, *.parquet
    shard: PathBuf,
    /// The document; its segments are decoded one after another
    #[arg(long)]
    id: String,
    /// The wav file to write
    #[arg(long)]
    out: PathBuf,
    /// The codec's name, folder or .safetensors file [default: the one named in the shard]
    #[arg(long)]
    codec: Option<String>,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    check_is_shard(&args.shard)?;
    let reader = ShardReader::open(&args.shard)?;
    let Some(info) = reader.meta().codec.clone() else {
        let (shard, what) = (args.shard.clone(), "the shard".to_owned());
        return Err(Error::NoCodes { shard, what }.into());
    };
    let document = find(&reader, &args.shard, &args.id)?;
    let codec = open_codec(&args.shard, &info, args.codec.as_deref())?;
    let samples = decode(&*codec, info.codebooks, &document)?;
    if samples.is_empty() {
        let (shard, what) = (args.shard.clone(), format!("document {:?}", args.id));
        return Err(Error::NoCodes { shard, what }.into());
    }
    let channels = codec.spec().channels;
    let secs = (samples.len() / channels) as f64 / f64::from(info.sample_rate_hz);
    let audio = Audio {
        samples,
        channels,
        sample_rate_hz: info.sample_rate_hz,
    };
    audio::write_wav(&args.out, &audio)?;
    println!(
        "{}: {secs:.2} s at {} Hz",
        args.out.display(),
        info.sample_rate_hz
    );
    for segment in document
        .segments
        .iter()
        .filter(|segment| !segment.text.is_empty())
    {
        println!("  {}", segment.text);
    }
    Ok(())
}

/// Refuses a file that was never a shard, which the reader would take for a damaged one.
fn check_is_shard(path: &Path) -> Result<()> {
    const PARQUET: &[u8] = b"PAR1";
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(PARQUET.len() as u64).read_to_end(&mut start))
        .map_err(Error::io("read", path))?;
    if start != PARQUET {
        return Err(Error::NotAShard {
            path: path.to_owned(),
        });
    }
    Ok(())
}

/// The document of that id; only the row group that has it is read whole.
fn find(reader: &ShardReader, shard: &Path, id: &str) -> Result<Document> {
    let mut first = Vec::new();
    for row_group in 0..reader.row_groups() {
        for (row, counts) in reader.counts(row_group)?.into_iter().enumerate() {
            if counts.id == id {
                return Ok(reader.documents(row_group)?.swap_remove(row));
            }
            if first.len() < LISTED {
                first.push(counts.id);
            }
        }
    }
    Err(Error::UnknownId {
        shard: shard.to_owned(),
        id: id.to_owned(),
        first,
    })
}

/// Opens the codec and checks that its weights are those that made the codes, where that is known: of codes published by
/// others it is not.
fn open_codec(shard: &Path, info: &CodecInfo, given: Option<&str>) -> Result<Box<dyn Codec>> {
    let options = Options {
        codebooks: Some(info.codebooks),
        ..Options::default()
    };
    let codec = match given {
        Some(given) => encodec_rs::open(given, &options)?,
        None => encodec_rs::open(&info.name, &options).map_err(|cause| Error::ShardCodec {
            shard: shard.to_owned(),
            name: info.name.clone(),
            cause: cause.into(),
        })?,
    };
    if !info.sha256.is_empty() && codec.spec().sha256 != info.sha256 {
        return Err(Error::OtherCodec {
            shard: shard.to_owned(),
            name: info.name.clone(),
            expected: info.sha256.clone(),
            given: given.unwrap_or(&info.name).to_owned(),
            found: codec.spec().sha256.clone(),
        });
    }
    Ok(codec)
}

/// Samples of all segments with audio, one after another, from their first `codebooks` codebooks.
fn decode(codec: &dyn Codec, codebooks: usize, document: &Document) -> Result<Vec<f32>> {
    let mut samples = Vec::new();
    for segment in document
        .segments
        .iter()
        .filter(|segment| !segment.codes.is_empty())
    {
        let codes = Codes::new(codebooks, segment.codes.clone());
        samples.extend(codec.decode(&codes)?);
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_parquet_files_are_taken_for_shards() {
        let dir = tempfile::tempdir().unwrap();
        let check = |bytes: &[u8]| {
            let path = dir.path().join("file");
            fs::write(&path, bytes).unwrap();
            check_is_shard(&path).map_err(|e| e.to_string())
        };
        for bytes in [&b"RIFF\x10\0\0\0WAVE"[..], b"PAR", b""] {
            let text = check(bytes).unwrap_err();
            assert!(
                text.contains("is not a shard") && text.contains("part-*.parquet"),
                "{text}"
            );
        }
        // cut off or damaged later is for the reader to say
        check(b"PAR1").unwrap();
        let text = check_is_shard(dir.path()).unwrap_err().to_string();
        assert!(text.contains("cannot read"), "{text}");
    }
}
