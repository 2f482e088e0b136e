//! The store of keys on TiKV: the suite that every backend passes, clean and under every fault, and
//! what becomes of calls when TiKV goes away and comes back.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::{env, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use async_trait::async_trait;
use hvs_kv::{
    CompareAndSwap, Durability, Kv, KvError, PutIfAbsent, ScanLimit,
    conformance::{self, Fixture},
    tikv::{ConnectError, MAX_PREFIX_BYTES, Tikv, TikvConfig, TikvError},
};
use hvs_tests::tikv::{Cluster, Fault, FaultKind};
use tempfile::TempDir;

/// The call of gRPC that all writes but deletions are made with.
const SWAP: &str = "RawCompareAndSwap";

struct Cloud {
    cluster: Cluster,
    _folder: TempDir,
}

impl Cloud {
    fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        Ok(Self { cluster: Cluster::start(folder.path())?, _folder: folder })
    }

    /// Attempts that are given up soon: the kit's faults last as long as they are told to.
    fn config(&self, prefix: &str) -> TikvConfig {
        TikvConfig {
            attempt_timeout: Duration::from_millis(200),
            call_timeout: Duration::from_secs(20),
            ..TikvConfig::new(self.cluster.endpoints(), prefix.as_bytes().to_vec())
        }
    }

    async fn connect(&self) -> Result<Tikv> {
        Ok(Tikv::connect(self.config("hvs/")).await?)
    }

    /// Of calls that soon give up.
    async fn connect_hastily(&self) -> Result<Tikv> {
        let config = TikvConfig { call_timeout: Duration::from_millis(300), ..self.config("hvs/") };
        // Under way already, the first connection included.
        let patient = TikvConfig { call_timeout: Duration::from_secs(20), ..config.clone() };
        drop(Tikv::connect(patient).await?);
        Ok(Tikv::connect(config).await?)
    }
}

struct Connecting(TikvConfig);

#[async_trait]
impl Fixture for Connecting {
    async fn open(&self) -> Arc<dyn Kv> {
        Arc::new(Tikv::connect(self.0.clone()).await.unwrap())
    }
}

fn reason(error: &KvError) -> &TikvError {
    let KvError::Backend { source, .. } = error else { panic!("{error}") };
    source.downcast_ref().unwrap()
}

/// On the user's TiKV if there is one, else on the kit.
#[tokio::test(flavor = "multi_thread")]
async fn the_suite_passes() -> Result<()> {
    if let Ok(endpoint) = env::var("HVS_TEST_TIKV_PD") {
        let config = TikvConfig::new(vec![endpoint], b"hvs-tests/".to_vec());
        let kv = Tikv::connect(config.clone()).await?;
        kv.delete_range(b"", &[0xff]).await?;
        conformance::run(&Connecting(config), "suite").await;
        kv.delete_range(b"", &[0xff]).await?;
        return Ok(());
    }
    let cloud = Cloud::start()?;
    conformance::run(&Connecting(cloud.config("hvs/")), "suite").await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_passes_when_its_keys_are_of_many_regions() -> Result<()> {
    let cloud = Cloud::start()?;
    for name in ["", "many/\x01", "page/\0\x05", "page/\0\x06", "page/\0\x07", "scan/a", "swap"] {
        cloud.cluster.split(format!("hvs/suite/{name}").as_bytes())?;
    }
    conformance::run(&Connecting(cloud.config("hvs/")), "suite").await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_passes_under_every_fault() -> Result<()> {
    let cloud = Cloud::start()?;
    let faults = [
        Fault::new(FaultKind::NotLeader),
        Fault::new(FaultKind::EpochNotMatch),
        Fault::new(FaultKind::StaleCommand),
        Fault::new(FaultKind::RegionNotFound),
        Fault::new(FaultKind::ServerIsBusy),
        Fault::new(FaultKind::Unavailable),
        Fault::new(FaultKind::Delay).milliseconds(20),
        Fault::new(FaultKind::LostReply),
    ];
    for fault in faults {
        let name = format!("{:?}", fault.kind);
        cloud.cluster.split(format!("hvs/{name}/page/\0\x07").as_bytes())?;
        cloud.cluster.inject(&fault.percent(5))?;
        conformance::run_with_faults(&Connecting(cloud.config("hvs/")), &name).await;
        let met = cloud.cluster.clear()?.iter().map(|fault| fault.met).sum::<u32>();
        assert!(met > 50, "{name} was met by {met} requests only");
    }
    // Those that take until the attempt is given up.
    let faults = [
        Fault::new(FaultKind::Hang),
        Fault::new(FaultKind::Late).milliseconds(250).of(SWAP).with_prefix("hvs/Late/race/"),
        Fault::new(FaultKind::Late).milliseconds(250).of(SWAP).with_prefix("hvs/Late/counter"),
    ];
    for fault in faults {
        let rare = if fault.kind == FaultKind::Hang { 1 } else { 10 };
        cloud.cluster.inject(&fault.percent(rare))?;
    }
    conformance::run_with_faults(&Connecting(cloud.config("hvs/")), "Late").await;
    for fault in cloud.cluster.clear()? {
        assert!(fault.met > 5, "{fault:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_reply_is_lost_is_known_to_have_been_made() -> Result<()> {
    let cloud = Cloud::start()?;
    let kv = cloud.connect().await?;
    let lose = || cloud.cluster.inject(&Fault::new(FaultKind::LostReply).of(SWAP).times(1));
    lose()?;
    assert_eq!(kv.put_if_absent(b"k", b"1", Durability::Sync).await?, PutIfAbsent::Stored);
    lose()?;
    let swap = kv.compare_and_swap(b"k", Some(b"1"), b"2", Durability::Sync).await?;
    assert_eq!(swap, CompareAndSwap::Swapped);
    // The same value again is another write, and not taken for the one before.
    let again = kv.put_if_absent(b"k", b"2", Durability::Sync).await?;
    assert_eq!(again, PutIfAbsent::Present(b"2".to_vec()));
    assert_eq!(cloud.cluster.clear()?.iter().map(|fault| fault.met).sum::<u32>(), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_that_was_made_and_then_overwritten_is_not_called_lost() -> Result<()> {
    let cloud = Cloud::start()?;
    let (kv, other) = (Arc::new(cloud.connect().await?), cloud.connect().await?);
    kv.put_if_absent(b"k", b"1", Durability::Sync).await?;
    cloud.cluster.inject(&Fault::new(FaultKind::LostReply).of(SWAP).times(1))?;
    let swap = tokio::spawn({
        let kv = Arc::clone(&kv);
        async move { kv.compare_and_swap(b"k", Some(b"1"), b"2", Durability::Sync).await }
    });
    // It looks for its value before it sends it again: not before the other one has written.
    loop {
        let swap = other.compare_and_swap(b"k", Some(b"2"), b"3", Durability::Sync).await?;
        if swap == CompareAndSwap::Swapped {
            break;
        }
    }
    match swap.await? {
        // It was quicker.
        Ok(swap) => assert_eq!(swap, CompareAndSwap::Swapped),
        Err(error) => assert!(matches!(reason(&error), TikvError::Undetermined), "{error}"),
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_may_be_written_later() -> Result<()> {
    let cloud = Cloud::start()?;
    let kv = cloud.connect_hastily().await?;
    let slow = Fault::new(FaultKind::Late).milliseconds(1000).of(SWAP).times(1);
    cloud.cluster.inject(&slow)?;
    cloud.cluster.inject(&Fault::new(FaultKind::Hang).of(SWAP))?;
    let failed = kv.put_if_absent(b"k", b"late", Durability::Sync).await.unwrap_err();
    assert!(matches!(reason(&failed), TikvError::TimedOut { .. }), "{failed}");
    cloud.cluster.clear()?;
    while kv.get(b"k").await?.as_deref() != Some(b"late") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_fail_while_the_store_is_away_and_go_on_when_it_is_back() -> Result<()> {
    let mut cloud = Cloud::start()?;
    let kv = cloud.connect_hastily().await?;
    kv.put_if_absent(b"k", b"1", Durability::Sync).await?;
    cloud.cluster.kill_store()?;
    let failed = kv.get(b"k").await.unwrap_err();
    assert!(failed.to_string().starts_with("cannot get k: "), "{failed}");
    kv.put_if_absent(b"l", b"1", Durability::Sync).await.unwrap_err();
    kv.scan(b"", b"x", ScanLimit::default()).await.unwrap_err();
    kv.delete(b"k", Durability::Sync).await.unwrap_err();
    cloud.cluster.start_store()?;
    let mut tries = 0;
    while kv.get(b"k").await.ok().flatten().as_deref() != Some(b"1") {
        tries += 1;
        assert!(tries < 100, "the client does not find the store again");
    }
    kv.put_if_absent(b"m", b"1", Durability::Sync).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_pd_is_not_noticed() -> Result<()> {
    let mut cloud = Cloud::start()?;
    let kv = cloud.connect().await?;
    kv.put_if_absent(b"k", b"1", Durability::Sync).await?;
    cloud.cluster.kill_pd()?;
    assert_eq!(kv.get(b"k").await?.as_deref(), Some(&b"1"[..]), "known regions need no PD");
    cloud.cluster.start_pd()?;
    // A region that the client does not know makes it ask PD.
    let mut tries = 0;
    while cloud.cluster.split(b"hvs/m").is_err() {
        tries += 1;
        assert!(tries < 500, "the store does not find PD again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for key in [b"a", b"k", b"m", b"z"] {
        kv.compare_and_swap(key, None, b"2", Durability::Sync).await?;
    }
    let page = kv.scan(b"", b"zz", ScanLimit::default()).await?;
    let values: Vec<_> = page.pairs.iter().map(|(_, value)| value.as_slice()).collect();
    assert_eq!(values, [b"2", b"1", b"2", b"2"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kit_loses_what_was_not_written_when_it_is_told_to() -> Result<()> {
    let mut cloud = Cloud::start()?;
    let kv = cloud.connect().await?;
    kv.put_if_absent(b"kept", b"1", Durability::Sync).await?;
    cloud.cluster.set_volatile(true)?;
    kv.put_if_absent(b"lost", b"1", Durability::Sync).await?;
    assert!(kv.get(b"lost").await?.is_some());
    cloud.cluster.kill_store()?;
    cloud.cluster.start_store()?;
    assert_eq!(kv.get(b"lost").await?, None);
    assert_eq!(kv.get(b"kept").await?.as_deref(), Some(&b"1"[..]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_large_values_fit_into_messages() -> Result<()> {
    let cloud = Cloud::start()?;
    let config = TikvConfig { attempt_timeout: Duration::from_secs(5), ..cloud.config("hvs/") };
    let kv = Tikv::connect(config).await?;
    for number in 0_u8..16 {
        // As the largest entries of a log, and small ones between them.
        let value = vec![number; if number % 2 == 0 { 2 << 20 } else { 10 }];
        kv.put_if_absent(&[number], &value, Durability::Sync).await?;
    }
    let (mut found, mut pages, mut next) = (Vec::new(), 0, Some(Vec::new()));
    while let Some(from) = next {
        let page = kv.scan(&from, &[0xff], ScanLimit::default()).await?;
        for (key, value) in page.pairs {
            assert!(value.iter().all(|byte| *byte == key[0]));
            found.push(key[0]);
        }
        (pages, next) = (pages + 1, page.next);
    }
    assert_eq!(found, (0..16).collect::<Vec<_>>());
    assert!(pages > 4, "{pages} pages of 2 MiB for 16 MiB");
    Ok(())
}

/// Each region gives as many pairs as are asked for, and what comes after a full one is not next.
#[tokio::test(flavor = "multi_thread")]
async fn pages_over_regions_leave_nothing_out() -> Result<()> {
    const ALL: u16 = 310;
    let cloud = Cloud::start()?;
    let kv = cloud.connect().await?;
    for number in 0..ALL {
        kv.put_if_absent(&number.to_be_bytes(), b"x", Durability::Sync).await?;
    }
    cloud.cluster.split(&[&b"hvs/"[..], &300_u16.to_be_bytes()].concat())?;
    let (mut found, mut next) = (Vec::new(), Some(Vec::new()));
    while let Some(from) = next {
        let page = kv.scan(&from, &[0xff], ScanLimit::default()).await?;
        found.extend(page.pairs.into_iter().map(|(key, _)| key));
        next = page.next;
    }
    let wanted: Vec<_> = (0..ALL).map(|number| number.to_be_bytes().to_vec()).collect();
    assert_eq!(found, wanted);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_share_a_store_under_prefixes_of_their_own() -> Result<()> {
    let cloud = Cloud::start()?;
    let one = Tikv::connect(cloud.config("one/")).await?;
    let two = Tikv::connect(cloud.config("two/")).await?;
    one.put_if_absent(b"k", b"1", Durability::Sync).await?;
    assert_eq!(two.put_if_absent(b"k", b"2", Durability::Sync).await?, PutIfAbsent::Stored);
    one.delete_range(b"", &[0xff]).await?;
    assert_eq!(one.get(b"k").await?, None);
    let page = two.scan(b"", &[0xff], ScanLimit::default()).await?;
    assert_eq!(page.pairs, [(b"k".to_vec(), b"2".to_vec())]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_program_wrote_under_the_prefix_is_refused() -> Result<()> {
    let cloud = Cloud::start()?;
    let foreign = tikv_client::RawClient::new(cloud.cluster.endpoints()).await?;
    foreign.put(b"hvs/k".to_vec(), b"of another".to_vec()).await?;
    let kv = cloud.connect().await?;
    for error in [
        kv.get(b"k").await.unwrap_err(),
        kv.put_if_absent(b"k", b"1", Durability::Sync).await.unwrap_err(),
        kv.scan(b"", b"x", ScanLimit::default()).await.unwrap_err(),
    ] {
        assert!(matches!(reason(&error), TikvError::Foreign { bytes: 10 }), "{error}");
    }
    assert_eq!(foreign.get(b"hvs/k".to_vec()).await?, Some(b"of another".to_vec()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_pd_is_told_as_such() -> Result<()> {
    let cloud = Cloud::start()?;
    let connect = async |endpoints: &[String], prefix: Vec<u8>| {
        let config = TikvConfig {
            attempt_timeout: Duration::from_millis(200),
            call_timeout: Duration::from_millis(500),
            ..TikvConfig::new(endpoints.to_vec(), prefix)
        };
        Tikv::connect(config).await.err().context("it connected")
    };
    assert!(matches!(connect(&[], Vec::new()).await?, ConnectError::NoEndpoints));
    let long = connect(&cloud.cluster.endpoints(), vec![b'p'; MAX_PREFIX_BYTES + 1]).await?;
    assert!(matches!(long, ConnectError::PrefixTooLong { .. }));
    let unused = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    for address in [unused, cloud.cluster.store_address()] {
        let refused = connect(&[address.to_string()], Vec::new()).await?;
        let text = refused.to_string();
        assert!(text.contains(&format!("no PD of TiKV at {address}")), "{text}");
    }
    // One that is there is enough.
    let both = [vec![unused.to_string()], cloud.cluster.endpoints()].concat();
    let config = TikvConfig::new(both, b"hvs/".to_vec());
    Tikv::connect(config).await?.get(b"k").await?;
    Ok(())
}
