BEGIN TRANSACTION;
CREATE TABLE alarm (
	gateway VARCHAR(32) NOT NULL,
	boot BIGINT NOT NULL,
	sequence BIGINT NOT NULL,
	point VARCHAR(65) NOT NULL,
	machine VARCHAR(32) NOT NULL,
	alarm_id VARCHAR(16) NOT NULL,
	state VARCHAR(16) NOT NULL,
	priority VARCHAR(16) NOT NULL,
	measured_at_us BIGINT NOT NULL,
	received_at_us BIGINT NOT NULL,
	reason TEXT NOT NULL,
	case_id BIGINT,
	detail JSON NOT NULL,
	CONSTRAINT pk_alarm PRIMARY KEY (gateway, boot, sequence)
);
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v0002');
CREATE TABLE audit (
	audit_id INTEGER NOT NULL,
	at_us BIGINT NOT NULL,
	actor TEXT NOT NULL,
	action VARCHAR(32) NOT NULL,
	text TEXT NOT NULL,
	CONSTRAINT pk_audit PRIMARY KEY (audit_id)
);
CREATE TABLE case_event (
	event_id INTEGER NOT NULL,
	case_id BIGINT NOT NULL,
	at_us BIGINT NOT NULL,
	kind VARCHAR(32) NOT NULL,
	actor TEXT NOT NULL,
	text TEXT NOT NULL,
	detail JSON,
	CONSTRAINT pk_case_event PRIMARY KEY (event_id),
	CONSTRAINT fk_case_event_case_id_machine_case FOREIGN KEY(case_id) REFERENCES machine_case (case_id)
);
INSERT INTO "case_event" VALUES(1,1,2100000,'opened','site','alert at pump-07/de',NULL);
CREATE TABLE dead_letter (
	letter_id INTEGER NOT NULL,
	topic TEXT NOT NULL,
	reason VARCHAR(32) NOT NULL,
	text TEXT NOT NULL,
	at_us BIGINT NOT NULL,
	head BLOB NOT NULL,
	size_bytes BIGINT NOT NULL,
	CONSTRAINT pk_dead_letter PRIMARY KEY (letter_id)
);
CREATE TABLE dead_letter_count (
	reason VARCHAR(32) NOT NULL,
	count BIGINT NOT NULL,
	CONSTRAINT pk_dead_letter_count PRIMARY KEY (reason)
);
CREATE TABLE evidence (
	gateway VARCHAR(32) NOT NULL,
	boot BIGINT NOT NULL,
	sequence BIGINT NOT NULL,
	point VARCHAR(65) NOT NULL,
	measured_at_us BIGINT NOT NULL,
	why TEXT NOT NULL,
	detail JSON NOT NULL,
	CONSTRAINT pk_evidence PRIMARY KEY (gateway, boot, sequence)
);
CREATE TABLE gap (
	gateway VARCHAR(32) NOT NULL,
	boot BIGINT NOT NULL,
	sequence BIGINT NOT NULL,
	what VARCHAR(32) NOT NULL,
	source TEXT NOT NULL,
	first BIGINT NOT NULL,
	last BIGINT NOT NULL,
	count BIGINT NOT NULL,
	reason TEXT NOT NULL,
	at_us BIGINT NOT NULL,
	CONSTRAINT pk_gap PRIMARY KEY (gateway, boot, sequence)
);
CREATE TABLE gateway (
	gateway VARCHAR(32) NOT NULL,
	online BOOLEAN NOT NULL,
	boot BIGINT,
	last_sequence BIGINT NOT NULL,
	last_seen_us BIGINT,
	status JSON,
	release_version BIGINT NOT NULL,
	CONSTRAINT pk_gateway PRIMARY KEY (gateway)
);
INSERT INTO "gateway" VALUES('gw-1',1,7,1,2100000,NULL,17);
CREATE TABLE health (
	gateway VARCHAR(32) NOT NULL,
	boot BIGINT NOT NULL,
	sequence BIGINT NOT NULL,
	point VARCHAR(65) NOT NULL,
	capture_boot BIGINT NOT NULL,
	capture_sequence BIGINT NOT NULL,
	measured_at_us BIGINT NOT NULL,
	received_at_us BIGINT NOT NULL,
	quality VARCHAR(32) NOT NULL,
	learning VARCHAR(16) NOT NULL,
	score FLOAT,
	score_limit FLOAT,
	exceeds BOOLEAN NOT NULL,
	alarm VARCHAR(16) NOT NULL,
	zone VARCHAR(1),
	zone_basis TEXT NOT NULL,
	velocity_rms_mm_s FLOAT,
	acceleration_rms_g FLOAT,
	acceleration_peak_g FLOAT,
	crest_factor FLOAT,
	kurtosis FLOAT,
	envelope_rms_g FLOAT,
	rpm FLOAT,
	rpm_source VARCHAR(16) NOT NULL,
	rpm_confidence FLOAT NOT NULL,
	temperature_c FLOAT,
	battery_v FLOAT,
	diagnosis JSON NOT NULL,
	model_version BIGINT NOT NULL, remaining_life_low_s FLOAT, remaining_life_median_s FLOAT, remaining_life_high_s FLOAT, remaining_life_basis TEXT DEFAULT '' NOT NULL,
	CONSTRAINT pk_health PRIMARY KEY (gateway, boot, sequence)
);
INSERT INTO "health" VALUES('gw-1',7,0,'pump-07/de',3,40,1000000,1100000,'ok','ready',0.5,2.5,0,'normal','A','ISO 20816-3',1.25,0.5,2.0,4.0,3.5,0.125,1480.0,'sensor',1.0,41.5,NULL,'[]',17,1.0,2.0,3.0,'a trend');
INSERT INTO "health" VALUES('gw-1',7,1,'pump-07/de',3,41,2000000,2100000,'ok','ready',3.5,2.5,1,'unacknowledged','B','ISO 20816-3',2.25,0.5,2.0,4.0,3.5,0.125,1480.0,'sensor',1.0,41.5,NULL,'[{"label": "outer", "confidence": 0.75}]',17,1.0,2.0,3.0,'a trend');
CREATE TABLE learning_round (
	round_id INTEGER NOT NULL,
	level VARCHAR(16) NOT NULL,
	state VARCHAR(16) NOT NULL,
	base_version BIGINT NOT NULL,
	release_version BIGINT,
	started_at_us BIGINT NOT NULL,
	ended_at_us BIGINT,
	invited INTEGER NOT NULL,
	accepted INTEGER NOT NULL,
	rejected INTEGER NOT NULL,
	bytes_down BIGINT NOT NULL,
	bytes_up BIGINT NOT NULL,
	rule VARCHAR(32) NOT NULL,
	digest VARCHAR(64) NOT NULL,
	text TEXT NOT NULL,
	metrics JSON NOT NULL,
	CONSTRAINT pk_learning_round PRIMARY KEY (round_id)
);
CREATE TABLE ledger (
	day VARCHAR(10) NOT NULL,
	topic VARCHAR(32) NOT NULL,
	messages BIGINT NOT NULL,
	bytes BIGINT NOT NULL,
	CONSTRAINT pk_ledger PRIMARY KEY (day, topic)
);
CREATE TABLE machine (
	machine VARCHAR(32) NOT NULL,
	title TEXT NOT NULL,
	criticality INTEGER NOT NULL,
	nameplate JSON,
	first_seen_us BIGINT NOT NULL,
	CONSTRAINT pk_machine PRIMARY KEY (machine)
);
INSERT INTO "machine" VALUES('pump-07','Cooling water pump 7',5,NULL,1000000);
CREATE TABLE machine_case (
	case_id INTEGER NOT NULL,
	machine VARCHAR(32) NOT NULL,
	state VARCHAR(16) NOT NULL,
	priority VARCHAR(16) NOT NULL,
	title TEXT NOT NULL,
	diagnosis JSON NOT NULL,
	opened_at_us BIGINT NOT NULL,
	changed_at_us BIGINT NOT NULL,
	closed_at_us BIGINT,
	acknowledged_by TEXT,
	points JSON NOT NULL,
	CONSTRAINT pk_machine_case PRIMARY KEY (case_id)
);
INSERT INTO "machine_case" VALUES(1,'pump-07','open','alert','Outer race damage likely','[]',2000000,2100000,NULL,NULL,'{"pump-07/de": "unacknowledged"}');
CREATE TABLE point (
	point VARCHAR(65) NOT NULL,
	machine VARCHAR(32) NOT NULL,
	gateway VARCHAR(32) NOT NULL,
	learning VARCHAR(16) NOT NULL,
	learning_share FLOAT NOT NULL,
	quality VARCHAR(32) NOT NULL,
	notice TEXT NOT NULL,
	last_measured_us BIGINT,
	last_received_us BIGINT,
	interval_s FLOAT,
	CONSTRAINT pk_point PRIMARY KEY (point)
);
INSERT INTO "point" VALUES('pump-07/de','pump-07','gw-1','ready',1.0,'ok','',2000000,2100000,600.0);
CREATE TABLE release (
	release_version BIGINT NOT NULL,
	digest VARCHAR(64) NOT NULL,
	level VARCHAR(16) NOT NULL,
	state VARCHAR(16) NOT NULL,
	created_at_us BIGINT NOT NULL,
	manifest JSON NOT NULL,
	bundle BLOB NOT NULL,
	CONSTRAINT pk_release PRIMARY KEY (release_version)
);
CREATE TABLE request (
	request_id VARCHAR(32) NOT NULL,
	sealed BLOB NOT NULL,
	created_at_us BIGINT NOT NULL,
	state VARCHAR(16) NOT NULL,
	actor TEXT NOT NULL,
	action VARCHAR(32) NOT NULL,
	answer TEXT NOT NULL,
	answered_at_us BIGINT,
	gateway VARCHAR(32),
	command JSON,
	CONSTRAINT pk_request PRIMARY KEY (request_id)
);
CREATE TABLE rollout (
	release_version BIGINT NOT NULL,
	gateway VARCHAR(32) NOT NULL,
	state VARCHAR(16) NOT NULL,
	text TEXT NOT NULL,
	at_us BIGINT NOT NULL,
	CONSTRAINT pk_rollout PRIMARY KEY (release_version, gateway)
);
CREATE TABLE round_update (
	round_id BIGINT NOT NULL,
	member VARCHAR(32) NOT NULL,
	received_at_us BIGINT NOT NULL,
	accepted BOOLEAN NOT NULL,
	reason VARCHAR(32) NOT NULL,
	weight FLOAT NOT NULL,
	norm FLOAT,
	bytes BIGINT NOT NULL,
	digest VARCHAR(64) NOT NULL,
	delta BLOB,
	metrics JSON NOT NULL,
	CONSTRAINT pk_round_update PRIMARY KEY (round_id, member),
	CONSTRAINT fk_round_update_round_id_learning_round FOREIGN KEY(round_id) REFERENCES learning_round (round_id)
);
CREATE TABLE uplink (
	gateway VARCHAR(32) NOT NULL,
	boot BIGINT NOT NULL,
	through BIGINT NOT NULL,
	stored BIGINT NOT NULL,
	duplicates BIGINT NOT NULL,
	CONSTRAINT pk_uplink PRIMARY KEY (gateway, boot)
);
INSERT INTO "uplink" VALUES('gw-1',7,1,2,0);
CREATE TABLE uplink_ahead (
	gateway VARCHAR(32) NOT NULL,
	boot BIGINT NOT NULL,
	sequence BIGINT NOT NULL,
	CONSTRAINT pk_uplink_ahead PRIMARY KEY (gateway, boot, sequence)
);
CREATE INDEX ix_alarm_case_id ON alarm (case_id);
CREATE INDEX ix_alarm_machine ON alarm (machine);
CREATE INDEX ix_dead_letter_reason ON dead_letter (reason);
CREATE INDEX ix_evidence_point_measured_at_us ON evidence (point, measured_at_us);
CREATE INDEX ix_health_point_measured_at_us ON health (point, measured_at_us);
CREATE INDEX ix_machine_case_machine ON machine_case (machine);
CREATE UNIQUE INDEX uq_machine_case_open ON machine_case (machine) WHERE state <> 'closed';
CREATE INDEX ix_point_machine ON point (machine);
CREATE INDEX ix_request_state ON request (state);
CREATE INDEX ix_case_event_case_id ON case_event (case_id);
COMMIT;
