//! Learning rates, to the last bit.

use super::*;

#[test]
fn schedules_are_optaxs() {
    let fixture = Fixture::open("schedules");
    let (peak, steps) = (
        fixture.tensors["peak"].values[0],
        fixture.about["steps"].as_u64().unwrap(),
    );
    let schedules = fixture.about["schedules"].as_object().unwrap();
    assert_eq!(schedules.len(), 11);
    for (name, schedule) in schedules {
        let config: ScheduleConfig = serde_json::from_value(schedule.clone()).unwrap();
        let values = |what: &str| &fixture.tensors[&format!("{name}.{what}")].values;
        let (at, rates) = (values("steps"), values("rates"));
        assert_eq!((at.len(), rates.len()), (1000, 1000));
        for (&step, &want) in at.iter().zip(rates) {
            let got = learning_rate(&config, peak, steps, step as u64);
            // Units in the last place: the order of positive doubles is that of their bits.
            let ulps = got.to_bits().abs_diff(want.to_bits());
            // All but a cosine is rounded correctly wherever it is computed.
            let allowed = if name.starts_with("cosine") { 2 } else { 0 };
            assert!(
                ulps <= allowed,
                "{name} at step {step}: {got:e}, not {want:e}: {ulps} ulp"
            );
        }
    }
}
