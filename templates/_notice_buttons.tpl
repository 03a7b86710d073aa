% # What may be done with a row of the outbox. Wants: line.
% if line.retry:
      <form method="post" action="{{line.retry}}">
% include('_token.tpl')
        <button class="button small" aria-label="{{t("outbox.retry_label", about=line.about or line.event)}}">{{t("outbox.retry")}}</button>
      </form>
% end
% if line.drop:
      <details class="confirm" name="confirm"><summary class="button small danger" aria-label="{{t("outbox.drop_label", about=line.about or line.event)}}">{{t("outbox.drop")}}</summary>
        <form class="panel" method="post" action="{{line.drop}}">
% include('_token.tpl')
          <p>{{t("outbox.drop_question")}}</p>
          <button class="button danger solid">{{t("outbox.drop_button")}}</button>
        </form>
      </details>
% end
