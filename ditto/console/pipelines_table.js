// The pipelines as a table, on a narrow window as cards. A template of its own, in place of slots of NiceGUI's table: those
// are made anew each time the rows change, and a click that begins before and ends after that is lost.
export default {
  template: `
    <q-table flat binary-state-sort class="fleet" :rows="rows" :columns="columns" row-key="name" v-model:pagination="page"
             :rows-per-page-options="[25, 50, 100, 0]" :grid="$q.screen.lt.md"
             @row-click="(event, row) => $emit('open', row.name)">
      <template #body-cell-name="props">
        <q-td :props="props"><a class="plain" :href="props.row.href" @click.stop>{{ props.row.name }}</a>
          <div v-if="props.row.why" class="why" :title="props.row.why">{{ props.row.why }}</div>
          <div v-if="props.row.snapshot" class="muted">{{ props.row.snapshot }}</div></q-td>
      </template>
      <template #body-cell-rank="props">
        <q-td :props="props"><span :class="'state s-' + props.row.state">{{ props.row.state }}</span></q-td>
      </template>
      <template #body-cell-node="props"><q-td :props="props">{{ props.row.node || '\u2013' }}</q-td></template>
      <template #body-cell-sink="props"><q-td :props="props">{{ props.row.sink || '\u2013' }}</q-td></template>
      <template #body-cell-lag="props">
        <q-td :props="props" class="number">{{ props.row.lag_text }}</q-td>
      </template>
      <template #body-cell-rate="props">
        <q-td :props="props" class="number">{{ props.row.rate_text }}</q-td>
      </template>
      <template #body-cell-course="props">
        <q-td :props="props"><svg class="spark" viewBox="0 0 90 22" aria-hidden="true">
          <polyline :points="props.row.spark"/></svg></q-td>
      </template>
      <template #body-cell-retained="props">
        <q-td :props="props"><span class="number">{{ props.row.retained_text }}</span>
          <div v-if="props.row.meter !== null" :class="'meter ' + props.row.meter_class">
            <i :style="{ width: props.row.meter + '%' }"></i></div></q-td>
      </template>
      <template #item="props">
        <div :key="props.row.name" class="col-12 q-pa-xs">
          <a class="card" :href="props.row.href">
            <div class="top"><b>{{ props.row.name }}</b>
              <span :class="'state s-' + props.row.state">{{ props.row.state }}</span></div>
            <div v-if="props.row.why" class="why">{{ props.row.why }}</div>
            <div v-if="props.row.snapshot" class="muted">{{ props.row.snapshot }}</div>
            <div class="facts">
              <div class="fact"><span>Lag</span><b>{{ props.row.lag_text }}</b></div>
              <div class="fact"><span>Events/s</span><b>{{ props.row.rate_text }}</b></div>
              <div class="fact"><span>WAL</span><b>{{ props.row.retained_short }}</b></div>
            </div>
            <div class="top muted"><span>{{ props.row.node || 'no node' }} · {{ props.row.sink || '\u2013' }}</span>
              <svg class="spark" viewBox="0 0 90 22" aria-hidden="true"><polyline :points="props.row.spark"/></svg></div>
          </a>
        </div>
      </template>
      <template #no-data><div class="q-pa-md muted">No pipeline is like that.</div></template>
    </q-table>`,
  props: { rows: Array, columns: Array, sort_by: String, descending: Boolean, size: Number },
  emits: ["open"],
  data() {
    return { page: { page: 1, rowsPerPage: this.size, sortBy: this.sort_by, descending: this.descending } };
  },
  watch: {
    sort_by(name) {
      this.page = { ...this.page, sortBy: name, descending: this.descending };
    },
  },
};
