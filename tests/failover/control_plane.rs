//! Failures of the control plane.

use std::time::{Duration, Instant};

use crate::stage::Stage;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_the_api_server_or_of_etcd_ends_no_process_and_requests_no_token() {
    let mut stage = Stage::with(3).await;
    for fault in ["the API server is gone", "etcd is gone"] {
        let leader = stage.leader().await;
        let begin = Instant::now();
        match fault {
            "etcd is gone" => stage.control_plane.kill_etcd().unwrap(),
            _ => stage.control_plane.kill_api_server().unwrap(),
        }
        let stopped = stage.stops_leading(leader).await;
        assert!(stopped < Duration::from_secs(15), "{fault}: {stopped:?}");
        while begin.elapsed() < Duration::from_mins(1) {
            stage.all_live().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        match fault {
            "etcd is gone" => stage.control_plane.restart_etcd().await.unwrap(),
            _ => stage.control_plane.restart_api_server().await.unwrap(),
        }
        let back = Instant::now();
        stage.leader().await;
        let led = back.elapsed();
        stage.new_context_is_ready().await;
        let (stopped, led, ready) = (stopped.as_secs_f64(), led.as_secs_f64(), back.elapsed().as_secs_f64());
        eprintln!(
            "{fault} for a minute: the leader stops after {stopped:.1} s; once it is back one leads after {led:.1} s, a new \
             context is Ready after {ready:.1} s"
        );
        assert!(ready < 60.0, "{fault}");
    }
    stage.all_live().await;
    stage.check().await;
}
