package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Event is a change of a row. Values stay as they are written: a float64 would round large numbers.
type Event struct {
	Schema    string                     `json:"schema"`
	Table     string                     `json:"table"`
	Action    string                     `json:"action"`
	Data      map[string]json.RawMessage `json:"data"`
	DataOld   map[string]json.RawMessage `json:"dataOld"`
	Unchanged []string                   `json:"unchanged"`
	Meta      struct {
		PrimaryKey []string `json:"primaryKey"`
	} `json:"meta"`
}

// Copy is the database with the tables of copy.sql.
type Copy struct {
	db      *pgx.Conn
	created string // when the stream was made: another one of the same name counts from 1 again
}

// Sequence returns the sequence of the last message that is in the copy; 0 for an empty copy.
func (c *Copy) Sequence(ctx context.Context) (sequence uint64, err error) {
	err = pgx.BeginFunc(ctx, c.db, func(tx pgx.Tx) error {
		sequence, err = c.locked(ctx, tx)
		return err
	})
	return sequence, err
}

// locked also keeps the row locked, so that two processes cannot both take the same message.
func (c *Copy) locked(ctx context.Context, tx pgx.Tx) (uint64, error) {
	var created string
	var sequence uint64
	_, err := tx.Exec(ctx, "INSERT INTO progress VALUES ($1, $2, 0) ON CONFLICT DO NOTHING", streamName, c.created)
	if err != nil {
		return 0, err
	}
	query := "SELECT created, sequence FROM progress WHERE stream = $1 FOR UPDATE"
	if err := tx.QueryRow(ctx, query, streamName).Scan(&created, &sequence); err != nil {
		return 0, err
	}
	if created != c.created {
		return 0, fmt.Errorf("stream %s of %s is not that of %s: reload the copy", streamName, c.created, created)
	}
	return sequence, nil
}

// Store applies a message and notes its sequence, in one transaction. A message that was applied before changes nothing.
func (c *Copy) Store(ctx context.Context, sequence uint64, data []byte) error {
	return pgx.BeginFunc(ctx, c.db, func(tx pgx.Tx) error {
		stored, err := c.locked(ctx, tx)
		if err != nil || sequence <= stored {
			return err // nil: a redelivery
		}
		events, err := eventsIn(data)
		if err != nil {
			return err
		}
		for _, event := range events {
			if event.Action == "" {
				continue // Ditto's own messages (checkpoints, descriptions of tables) have none
			}
			if err := apply(ctx, tx, event); err != nil {
				return err
			}
		}
		_, err = tx.Exec(ctx, "UPDATE progress SET sequence = $1 WHERE stream = $2", sequence, streamName)
		return err
	})
}

// eventsIn returns the event of a message, or with events.group those of a transaction: an array, or one a line.
func eventsIn(data []byte) (events []Event, err error) {
	if bytes.HasPrefix(data, []byte("[")) {
		err = json.Unmarshal(data, &events)
		return events, err
	}
	for decoder := json.NewDecoder(bytes.NewReader(data)); decoder.More(); {
		var event Event
		if err := decoder.Decode(&event); err != nil {
			return nil, err
		}
		events = append(events, event)
	}
	return events, nil
}

func apply(ctx context.Context, tx pgx.Tx, event Event) error {
	if event.Action == "TRUNCATE" {
		_, err := tx.Exec(ctx, "DELETE FROM rows WHERE schema_name = $1 AND table_name = $2", event.Schema, event.Table)
		return err
	}
	// dataOld has the old key where there is no new row, and where the key has changed; else the key is in data.
	newKey := key(event.Meta.PrimaryKey, event.Data, event.DataOld)
	oldKey := key(event.Meta.PrimaryKey, event.DataOld, event.Data)
	query := "DELETE FROM rows WHERE schema_name = $1 AND table_name = $2 AND key IN ($3::jsonb, $4::jsonb) " +
		"RETURNING key = $3::jsonb, row"
	removed, err := tx.Query(ctx, query, event.Schema, event.Table, oldKey, newKey)
	if err != nil {
		return err
	}
	before := map[string]json.RawMessage{}
	for removed.Next() {
		var isOld bool
		var row []byte
		if err := removed.Scan(&isOld, &row); err != nil {
			return err
		}
		if isOld {
			if err := json.Unmarshal(row, &before); err != nil {
				return err
			}
		}
	}
	if err := removed.Err(); err != nil || event.Action == "DELETE" {
		return err
	}
	// Large values that did not change are not in the event: they stay as they were.
	for _, column := range event.Unchanged {
		if value, ok := before[column]; ok {
			event.Data[column] = value
		}
	}
	row, err := json.Marshal(event.Data)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "INSERT INTO rows VALUES ($1, $2, $3, $4)", event.Schema, event.Table, newKey, string(row))
	return err
}

// key returns the values of the columns as a JSON array, from the first row that has each.
func key(columns []string, rows ...map[string]json.RawMessage) string {
	values := make([]json.RawMessage, 0, len(columns))
	for _, column := range columns {
		for _, row := range rows {
			if value, ok := row[column]; ok {
				values = append(values, value)
				break
			}
		}
	}
	text, _ := json.Marshal(values) // raw messages cannot fail
	return string(text)
}
